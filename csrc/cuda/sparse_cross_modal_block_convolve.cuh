// relu(norm(conv(x))) of one tile, with the norm folded into what the sums become; and the pool.
#pragma once

#include "sparse_cross_modal_block_places.cuh"

namespace mesm_ops {

// A parameter of any of the types that parameters come in.
struct Parameter {
  enum Type { kFloat, kBfloat16, kFloat16 };
  const void* data;
  Type type;

  MESM_BLOCK float at(int64_t i) const {
    if (type == kFloat) return static_cast<const float*>(data)[i];
    const uint16_t bits = static_cast<const uint16_t*>(data)[i];
    return type == kBfloat16 ? Bfloat16::widen(bits) : Float16::widen(bits);
  }
};

struct Stage {
  Parameter weight;  // (columns, depth, 3, 3)
  Parameter norm_weight, norm_bias, mean, var;
  float eps;
  int columns, depth;
  uint16_t* packed;           // (kTaps, columns, depth)
  float *scale, *shift;       // (columns,)
  float *mean_out, *var_out;  // (columns,)
};

// Entry i of `columns * depth`.
template <class E>
MESM_BLOCK void pack(const Stage& s, int64_t i) {
  const int64_t all = static_cast<int64_t>(s.columns) * s.depth;
  for (int tap = 0; tap < kTaps; ++tap) {
    s.packed[tap * all + i] = E::narrow(s.weight.at(i * kTaps + tap));
  }
  if (i >= s.columns) return;
  const float mean = s.mean.at(i), var = s.var.at(i);
#ifdef __CUDACC__
  const float scale = s.norm_weight.at(i) / sqrtf(var + s.eps);
#else
  const float scale = s.norm_weight.at(i) / __builtin_sqrtf(var + s.eps);
#endif
  s.scale[i] = scale;
  s.shift[i] = s.norm_bias.at(i) - mean * scale;
  s.mean_out[i] = mean;
  s.var_out[i] = var;
}

// relu(norm) of 8 sums side by side.
template <class E>
MESM_BLOCK Piece rectified(const float* sums, const float* scale, const float* shift) {
  Piece piece;
  MESM_UNROLL
  for (int w = 0; w < 4; ++w) {
    uint32_t halves[2];
    MESM_UNROLL
    for (int h = 0; h < 2; ++h) {
      const int e = 2 * w + h;
      const float value = sums[e] * scale[e] + shift[e];
      halves[h] = E::narrow(value < 0 ? 0.0f : value);  // NaN stays
    }
    piece.words[w] = halves[0] | halves[1] << 16;
  }
  return piece;
}

struct Convolve {
  Product product;
  const int32_t* neighbours;
  const int32_t* order;
  const uint32_t* taps;
  const int32_t* number;
  int64_t capacity;
  const float *scale, *shift;
  uint16_t* to;  // (capacity, columns)

  MESM_BLOCK int64_t rows() const { return kept_rows(number, capacity); }
};

template <class T>
MESM_BLOCK int64_t tiles(const Convolve& c) {
  const int across = (c.product.columns + T::kColumns - 1) / T::kColumns;
  return (c.rows() + T::kRows - 1) / T::kRows * across;
}

template <class T>
MESM_BLOCK void convolve(const Convolve& c, int64_t tile, void* shared) {
  using E = typename T::E;
  const typename T::Memory memory = T::memory(shared);
  const int columns = c.product.columns;
  const int across = (columns + T::kColumns - 1) / T::kColumns;
  const int64_t slots = tile / across * T::kRows;
  const int first_column = static_cast<int>(tile % across) * T::kColumns;
  for_each(T::kRows, [&](int64_t i) {
    const int64_t row = c.order[slots + i];
    const uint32_t taps = c.taps[(slots + i) / kSubtile];
    for (int tap = 0; tap < kTaps; ++tap) {
      const int32_t there = row < 0 ? -1 : c.neighbours[row * kTaps + tap];
      const int32_t none = taps >> tap & 1 ? T::kNoRow : T::kNoneOf16;
      memory.rows[tap * T::kRows + i] = there < 0 ? none : there * (c.product.depth / kPiece);
    }
  });
  for_each(T::kSubtiles, [&](int64_t i) { memory.taps[i] = c.taps[slots / kSubtile + i]; });
  sync();
  typename T::Block block;
  T::run(c.product, first_column, memory, block);
  T::each(block, [&](int row, int column, int, const float* sums) {
    const int n = first_column + column;
    const int64_t to = c.order[slots + row];
    if (to < 0 || n >= columns) return;
    *reinterpret_cast<Piece*>(c.to + to * columns + n) =
        rectified<E>(sums, c.scale + n, c.shift + n);
  });
}

// The larger of each element; NaN is the largest. any: there is something in `best`.
template <class E>
MESM_BLOCK void raise(Piece& best, const uint16_t* from, bool any) {
  const Piece piece = *reinterpret_cast<const Piece*>(from);
  MESM_UNROLL
  for (int w = 0; w < 4; ++w) {
    uint32_t word = 0;
    MESM_UNROLL
    for (int h = 0; h < 2; ++h) {
      const uint16_t bits = static_cast<uint16_t>(piece.words[w] >> (16 * h));
      const uint16_t held = static_cast<uint16_t>(best.words[w] >> (16 * h));
      const float value = E::widen(bits);
      const bool wins = !any || value > E::widen(held) || value != value;
      word |= static_cast<uint32_t>(wins ? bits : held) << (16 * h);
    }
    best.words[w] = word;
  }
}

struct Pool {
  const uint16_t* from;  // (rows, columns)
  const int32_t* windows;
  const int32_t* number;  // of output rows that are no padding
  int64_t out_rows;
  int columns;
  uint16_t* to;  // (out_rows, columns)
};

// Piece i of `out_rows * columns / kPiece`, fewer than 2^31: 8 channels of an output row.
template <class E>
MESM_BLOCK void pool(const Pool& p, int32_t i) {
  const int32_t pieces = p.columns / kPiece;
  const int64_t row = i / pieces;
  Piece best{};
  if (row < *p.number) {
    bool any = false;
    for (int c = 0; c < 4; ++c) {
      const int64_t from = p.windows[row * 4 + c];
      if (from < 0) continue;
      raise<E>(best, p.from + from * p.columns + i % pieces * kPiece, any);
      any = true;
    }
  }
  *reinterpret_cast<Piece*>(p.to + row * p.columns + i % pieces * kPiece) = best;
}

}  // namespace mesm_ops
