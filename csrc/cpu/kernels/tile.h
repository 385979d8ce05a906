// The two register-tiled products in every dense inner loop of the kernels:
//   multiply_rows:  sum[to[i]] += x[from[i]] * W    (a panel of W's columns at a time)
//   outer_product:  dW         += sum_i x[from[i]]^T y[to[i]]
// Lists name the rows, which are never gathered. Where the machine has bfloat16 dot products, a
// step of depth is two elements; else one.
#pragma once

#include <stdint.h>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "scalar.h"
#include "vec.h"

namespace mesm_ops::MESM_ISA {
namespace {

// A step of a sum: kStep elements of depth, multiplied with as many rows of weights.
template <class T>
struct Product {
  using Weights = Vec<T>;
  using Operand = T;
  static constexpr int kStep = 1;
  static void add(Vec<T>& sum, Weights weights, Operand x) { sum += weights * x; }
};

#ifdef __AVX512BF16__
constexpr bool kDotsBFloat16 = true;
template <>
struct Product<BFloat16> {
  using Weights = Vec<int32_t>;  // 16 columns of two rows
  using Operand = int32_t;       // two neighbours of a row
  static constexpr int kStep = 2;
  static void add(Vec<float>& sum, Weights weights, Operand x) {
    sum = (Vec<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)weights,
                                       (__m512bh)_mm512_set1_epi32(x));
  }
};
#else
constexpr bool kDotsBFloat16 = false;
#endif

template <class T>
inline typename Product<T>::Operand load_operand(const T* x) {
  typename Product<T>::Operand value;
  memcpy(&value, x, sizeof(value));
  return value;
}

template <class T>
inline typename Product<T>::Weights load_weights(const T* w) {
  typename Product<T>::Weights value;
  memcpy(&value, w, sizeof(value));
  return value;
}

template <class T>
constexpr int kSums = kLanes<Compute<T>>;  // columns of a vector of sums

// A panel is kTileVectors vectors of columns; the last panel has the remaining vectors.
template <class T>
constexpr int kPanel = kTileVectors * kSums<T>;

template <class T>
inline int64_t panels_of(int64_t columns) {
  return (columns + kPanel<T> - 1) / kPanel<T>;
}

template <class T>
inline int vectors_of(int64_t columns, int64_t panel) {
  const int64_t left = (columns - panel * kPanel<T> + kSums<T> - 1) / kSums<T>;
  return left < kTileVectors ? static_cast<int>(left) : kTileVectors;
}

// kFirst: the sums start from zero, and the stored values are not read.
template <class T, bool kFirst, int R, int V>
void multiply_tile(const T* x, int64_t x_stride, const int32_t* from, Compute<T>* sums,
                   int64_t stride, const int32_t* to, const T* w, int64_t steps) {
  if (steps < 1) __builtin_unreachable();  // else the compiler spills the sums to memory
  constexpr int kStep = Product<T>::kStep;
  constexpr int kColumns = kSums<T>;
  const T* in[R];
  Vec<Compute<T>> sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    in[r] = x + from[r] * x_stride;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      sum[r][v] = kFirst ? Vec<Compute<T>>{} : load_vec(sums + to[r] * stride + v * kColumns);
    }
  }
  for (int64_t k = 0; k < steps; ++k, w += V * kColumns * kStep) {
    typename Product<T>::Weights weights[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) weights[v] = load_weights(w + v * kColumns * kStep);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto operand = load_operand(in[r] + k * kStep);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) Product<T>::add(sum[r][v], weights[v], operand);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store_vec(sums + to[r] * stride + v * kColumns, sum[r][v]);
  }
}

// x[i]: a step of R columns, at x + from[i] * x_stride; y[i]: a step of V vectors of columns.
template <class T, int R, int V>
void outer_tile(const T* x, int64_t x_stride, const int32_t* from, const T* y, int64_t y_stride,
                const int32_t* to, int64_t count, Compute<T>* dw, int64_t dw_stride) {
  if (count < 1) __builtin_unreachable();
  constexpr int kStep = Product<T>::kStep;
  constexpr int kColumns = kSums<T>;
  Vec<Compute<T>> sum[R][V] = {};
  for (int64_t i = 0; i < count; ++i) {
    const T* in = x + from[i] * x_stride;
    const T* out = y + to[i] * y_stride;
    typename Product<T>::Weights grad[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) grad[v] = load_weights(out + v * kColumns * kStep);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto operand = load_operand(in + r * kStep);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) Product<T>::add(sum[r][v], grad[v], operand);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      Compute<T>* at = dw + r * dw_stride + v * kColumns;
      store_vec(at, load_vec(at) + sum[r][v]);
    }
  }
}

template <class T>
using MultiplyTile = void (*)(const T*, int64_t, const int32_t*, Compute<T>*, int64_t,
                              const int32_t*, const T*, int64_t);
template <class T>
using OuterTile = void (*)(const T*, int64_t, const int32_t*, const T*, int64_t, const int32_t*,
                           int64_t, Compute<T>*, int64_t);

// Tiles by their number of rows (from 1) and of vectors.
template <class T, bool kFirst, int R = kTileRows, int V = kTileVectors>
inline MultiplyTile<T> multiply_tile_of(int64_t rows, int vectors) {
  if constexpr (V > 1) {
    if (vectors < V) return multiply_tile_of<T, kFirst, R, V - 1>(rows, vectors);
  }
  if constexpr (R > 1) {
    if (rows < R) return multiply_tile_of<T, kFirst, R - 1, V>(rows, vectors);
  }
  return multiply_tile<T, kFirst, R, V>;
}
template <class T, int R = kTileRows, int V = kTileVectors>
inline OuterTile<T> outer_tile_of(int64_t rows, int vectors) {
  if constexpr (V > 1) {
    if (vectors < V) return outer_tile_of<T, R, V - 1>(rows, vectors);
  }
  if constexpr (R > 1) {
    if (rows < R) return outer_tile_of<T, R - 1, V>(rows, vectors);
  }
  return outer_tile<T, R, V>;
}

// Cuts `count` into the fewest tiles of nearly equal size: 13 is 5, 4 and 4, not 6, 6 and 1.
struct Tiles {
  int64_t number, small, larger;
};
inline Tiles tiles_of(int64_t count) {
  const int64_t number = (count + kTileRows - 1) / kTileRows;
  return {number, number > 0 ? count / number : 0, number > 0 ? count % number : 0};
}

// sums: first column of the panel; w: [depth / step][vectors * columns][step], depth a multiple of
// the step. between() is called after each tile.
template <class T, bool kFirst, class F>
inline void multiply_rows(const T* x, int64_t x_stride, const int32_t* from, Compute<T>* sums,
                          int64_t stride, const int32_t* to, int64_t count, const T* w,
                          int64_t depth, int vectors, const F& between) {
  if (count == 0 || depth == 0) return;
  const Tiles tiles = tiles_of(count);
  const int64_t steps = depth / Product<T>::kStep;
  const MultiplyTile<T> larger = multiply_tile_of<T, kFirst>(tiles.small + 1, vectors);
  const MultiplyTile<T> small = multiply_tile_of<T, kFirst>(tiles.small, vectors);
  int64_t at = 0;
  for (int64_t tile = 0; tile < tiles.larger; ++tile, at += tiles.small + 1) {
    larger(x, x_stride, from + at, sums, stride, to + at, w, steps);
    between();
  }
  for (; at < count; at += tiles.small) {
    small(x, x_stride, from + at, sums, stride, to + at, w, steps);
    between();
  }
}

// y, dw: first column of the panel; depth: columns of x, each a step wide. The rows' sum is added
// to dw once.
template <class T>
inline void outer_product(const T* x, int64_t x_stride, const int32_t* from, int64_t depth,
                          const T* y, int64_t y_stride, const int32_t* to, int64_t count,
                          Compute<T>* dw, int64_t dw_stride, int vectors) {
  if (count == 0) return;
  const Tiles tiles = tiles_of(depth);
  int64_t at = 0;
  for (int64_t tile = 0; tile < tiles.number; ++tile) {
    const int64_t rows = tiles.small + (tile < tiles.larger ? 1 : 0);
    outer_tile_of<T>(rows, vectors)(x + at * Product<T>::kStep, x_stride, from, y, y_stride, to,
                                    count, dw + at * dw_stride, dw_stride);
    at += rows;
  }
}

}  // namespace
}  // namespace mesm_ops::MESM_ISA
