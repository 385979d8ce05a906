// What the block begins with: the queries' share of the hidden values, and for each frame its
// scores, its nucleus and how many of its windows that leaves active.
#pragma once

#include "nucleus.cuh"
#include "sparse_cross_modal_block_tiles.cuh"

namespace mesm_ops {

struct Maps {
  const int32_t* sites;    // (rows,)
  const int32_t* offsets;  // (frames + 1,), the caller's: kept inside the rows, whatever they are
  int64_t frames, rows;
  int32_t height, width;

  MESM_BLOCK int32_t area() const { return height * width; }
  MESM_BLOCK int32_t windows() const { return height / 2 * (width / 2); }
  MESM_BLOCK int32_t first(int64_t frame) const {
    const int64_t row = offsets[frame];
    return static_cast<int32_t>(row < 0 ? 0 : (row > rows ? rows : row));
  }
  MESM_BLOCK int32_t candidates(int64_t frame) const {
    const int32_t count = first(frame + 1) - first(frame);
    return count < 0 ? 0 : (count > area() ? area() : count);
  }
};

// What each sample adds to the hidden values of its sites: map_bias + query_weight q.
struct Asked {
  Product product;  // queries times query_weight
  const float* bias;
  int64_t samples;
  float* to;  // (samples, hidden)
};

template <class T>
MESM_BLOCK void ask(const Asked& asked, int64_t tile, void* shared) {
  const typename T::Memory memory = T::memory(shared);
  const int hidden = asked.product.columns;
  const int across = (hidden + T::kColumns - 1) / T::kColumns;
  const int64_t first_row = tile / across * T::kRows;
  const int first_column = static_cast<int>(tile % across) * T::kColumns;
  for_each(T::kRows, [&](int64_t i) {
    const int pieces = asked.product.depth / kPiece;
    const bool there = first_row + i < asked.samples;
    memory.rows[i] = there ? static_cast<int32_t>((first_row + i) * pieces) : T::kNoRow;
  });
  sync();
  typename T::Block block;
  T::run(asked.product, first_column, memory, block);
  T::each(block, [&](int row, int column, int, const float* sums) {
    if (first_row + row >= asked.samples) return;
    for (int e = 0; e < kPiece; ++e) {
      const int n = first_column + column + e;
      if (n < hidden) asked.to[(first_row + row) * hidden + n] = sums[e] + asked.bias[n];
    }
  });
}

// The sample of a frame; ends: how many frames there are up to each sample's end. ends null: each
// frame has its own.
MESM_BLOCK int64_t sample_of(const int32_t* ends, int64_t samples, int64_t frame) {
  if (ends == nullptr) return frame;
  int64_t low = 0, high = samples - 1;  // the first sample that ends after the frame
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (ends[middle] > frame) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

struct Select {
  Maps maps;
  Product product;            // features times map_weight
  const float* asked;         // (samples, hidden)
  const float* score_weight;  // (hidden,)
  const float* score_bias;
  const int32_t* ends;
  int64_t samples;
  double p;
  bool weighted;
  // Of a frame, from its first candidate on:
  int32_t* kept;  // (rows,)
  float* scale;   // (rows,), what a kept row is multiplied by
  int32_t* kept_count;
  int32_t* window_count;  // both (frames,)
};

// 1 - 2 / (e^2x + 1), a few 1e-7 off.
MESM_BLOCK float tanh_of(float x) {
#ifdef __CUDACC__
  return 1.0f - __fdividef(2.0f, __expf(2.0f * x) + 1.0f);
#else
  return 1.0f - 2.0f / (__builtin_expf(2.0f * x) + 1.0f);
#endif
}

// Shared memory of `select`: the tile's, then these.
template <class T>
struct SelectMemory {
  static constexpr int kShares = kWarpColumns * 4;  // threads that hold columns of one row
  char* exchange;
  float* partial;  // [kShares][kRows]
  float* scores;   // [area], then the attention
  char* active;    // [area], of kept sites

  static MESM_BLOCK SelectMemory at(void* shared, const Maps& maps) {
    char* exchange = static_cast<char*>(shared) + T::kBytes;
    float* partial = reinterpret_cast<float*>(exchange + Exchange::kBytes);
    float* scores = partial + kShares * T::kRows;
    return {exchange, partial, scores, reinterpret_cast<char*>(scores + maps.area())};
  }
  static constexpr int64_t bytes(int64_t area) {
    return T::kBytes + Exchange::kBytes + kShares * T::kRows * 4 + area * 5;
  }
};

template <class T>
MESM_BLOCK void score(const Select& s, int64_t frame, const typename T::Memory& memory,
                      const SelectMemory<T>& own) {
  const int32_t first = s.maps.first(frame);
  const int32_t count = s.maps.candidates(frame);
  const int hidden = s.product.columns;
  const float* asked = s.asked + sample_of(s.ends, s.samples, frame) * hidden;
  for_each(count, [&](int64_t i) { own.scores[i] = *s.score_bias; });
  for_each(own.kShares * T::kRows, [&](int64_t i) { own.partial[i] = 0; });
  for (int32_t begin = 0; begin < count; begin += T::kRows) {
    for_each(T::kRows, [&](int64_t i) {
      const int pieces = s.product.depth / kPiece;
      memory.rows[i] =
          begin + i < count ? static_cast<int32_t>((first + begin + i) * pieces) : T::kNoRow;
    });
    sync();
    for (int column_begin = 0; column_begin < hidden; column_begin += T::kColumns) {
      typename T::Block block;
      T::run(s.product, column_begin, memory, block);
      T::each(block, [&](int row, int column, int share, const float* sums) {
        float sum = 0;
        for (int e = 0; e < kPiece; ++e) {
          const int n = column_begin + column + e;
          if (n < hidden) sum += s.score_weight[n] * tanh_of(sums[e] + asked[n]);
        }
        own.partial[share * T::kRows + row] += sum;
      });
      sync();
      for_each(T::kRows, [&](int64_t row) {
        float sum = 0;
        for (int share = 0; share < own.kShares; ++share) {
          sum += own.partial[share * T::kRows + row];
          own.partial[share * T::kRows + row] = 0;
        }
        if (begin + row < count) own.scores[begin + row] += sum;
      });
      sync();
    }
  }
}

template <class T>
MESM_BLOCK void select(const Select& s, int64_t frame, void* shared) {
  const SelectMemory<T> own = SelectMemory<T>::at(shared, s.maps);
  const int32_t first = s.maps.first(frame);
  const int32_t count = s.maps.candidates(frame);
  for_each(s.maps.area(), [&](int64_t i) { own.active[i] = 0; });
  score<T>(s, frame, T::memory(shared), own);
  sync();
  Exchange exchange{own.exchange};
  int32_t kept = 0;
  if (count > 0) {
    kept = nucleus(own.scores, count, s.p, own.scores, exchange, [&](int32_t i, int32_t number) {
      s.kept[first + number] = first + i;
      s.scale[first + number] = s.weighted ? static_cast<float>(count) * own.scores[i] : 1.0f;
      const int32_t site = s.maps.sites[first + i];
      if (site >= 0 && site < s.maps.area()) own.active[site] = 1;
    });
  }
  sync();
  uint32_t mine = 0;
  for_each(s.maps.windows(), [&](int64_t window) {
    const int32_t across = s.maps.width / 2;
    const char* site = own.active + window / across * 2 * s.maps.width + window % across * 2;
    mine += site[0] || site[1] || site[s.maps.width] || site[s.maps.width + 1];
  });
  const uint32_t windows = block_sum(mine, exchange);
  for_each(1, [&](int64_t) {
    s.kept_count[frame] = kept;
    s.window_count[frame] = static_cast<int32_t>(windows);
  });
}

}  // namespace mesm_ops
