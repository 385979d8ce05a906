// How a block reads and writes rows of features: 16 bytes at a time where rows are aligned.
#pragma once

#include "block.cuh"

namespace mesm_ops {

struct RowRange {
  int64_t begin, end;
};

// Offsets come from the caller: invalid offsets must not lead outside the tensor.
MESM_BLOCK int64_t row_inside(int64_t row, int64_t rows) {
  return row < 0 ? 0 : (row > rows ? rows : row);
}

MESM_BLOCK int64_t row_at(const int32_t* offsets, int64_t frame, int64_t rows) {
  return row_inside(offsets[frame], rows);
}

MESM_BLOCK RowRange rows_between(int64_t begin, int64_t end, int64_t rows) {
  begin = row_inside(begin, rows);
  end = row_inside(end, rows);
  return {begin, end < begin ? begin : end};
}

MESM_BLOCK RowRange rows_of_frame(const int32_t* offsets, int64_t frame, int64_t rows) {
  return rows_between(offsets[frame], offsets[frame + 1], rows);
}

// offsets[frame + 1] = counts[0] + ... + counts[frame], but at most `most`, by one block.
MESM_BLOCK void write_offsets(const int32_t* counts, int64_t frames, int64_t most, int32_t* offsets,
                              Exchange& exchange) {
  if (thread() == 0) offsets[0] = 0;
  uint64_t before = 0;
  MESM_ROLLED
  for (int64_t begin = 0; begin < frames; begin += threads()) {
    const int64_t frame = begin + thread();
    const uint64_t own = frame < frames ? static_cast<uint64_t>(counts[frame]) : 0;
    const Sums<uint64_t> sums = block_sums(own, exchange);
    const uint64_t end = before + sums.before + own;
    const uint64_t limit = static_cast<uint64_t>(most);
    if (frame < frames) offsets[frame + 1] = static_cast<int32_t>(end < limit ? end : limit);
    before += sums.all;
  }
}

// One part's share of [begin, end), which is shorter than 2^32.
MESM_BLOCK RowRange share_of(int64_t begin, int64_t end, int64_t part, int64_t parts) {
  const uint32_t number = static_cast<uint32_t>(end - begin);  // 32-bit divisions are faster
  const uint32_t each = number / static_cast<uint32_t>(parts);
  const uint32_t rest = number - each * static_cast<uint32_t>(parts);
  const int64_t first = begin + part * each + (part < rest ? part : rest);
  return {first, first + each + (part < rest)};
}

template <class T, int kNumber>
struct alignas(sizeof(T) * kNumber < 16 ? sizeof(T) * kNumber : 16) Pack {
  static constexpr int kSize = kNumber;
  using Element = T;
  T of[kNumber];
};

template <class T>
using WidePack = Pack<T, 16 / sizeof(T)>;
template <class T>
using SinglePack = Pack<T, 1>;

template <class P>
MESM_BLOCK P scaled(P pack, float scale) {
  for (auto& one : pack.of) {
    one = static_cast<typename P::Element>(static_cast<float>(one) * scale);
  }
  return pack;
}

// How the threads of a block share out rows: `width` neighbouring lanes take one row.
struct RowGroups {
  int width, column, group, groups;

  MESM_BLOCK explicit RowGroups(int64_t packs) : width(1) {
    while (width < packs && width < kLanes) width *= 2;
    column = thread() % width;
    group = thread() / width;
    groups = threads() / width;
  }
};

// A row to copy; none if `from` is -1.
struct Moved {
  int32_t from, to;
};

// Copies which(0), ..., which(number - 1), times scale_of(from) if weighted, rounded once. A group
// of lanes has several rows under way.
template <class P, class Which, class ScaleOf>
MESM_BLOCK void gather_rows(const P* from, int32_t packs, int32_t number, P* to, const Which& which,
                            bool weighted, const ScaleOf& scale_of) {
  constexpr int kAtATime = 3;
  const RowGroups by(packs);
  MESM_ROLLED
  for (int32_t first = by.group; first < number; first += kAtATime * by.groups) {
    Moved moved[kAtATime];
    float scales[kAtATime];
    MESM_UNROLL
    for (int k = 0; k < kAtATime; ++k) {
      const int32_t i = first + k * by.groups;
      moved[k] = i < number ? which(i) : Moved{-1, -1};
    }
    if (weighted) {
      MESM_UNROLL
      for (int k = 0; k < kAtATime; ++k) {
        if (moved[k].from >= 0) scales[k] = scale_of(moved[k].from);
      }
    }
    MESM_ROLLED
    for (int32_t column = by.column; column < packs; column += by.width) {
      P loaded[kAtATime] = {};
      MESM_UNROLL
      for (int k = 0; k < kAtATime; ++k) {
        if (moved[k].from >= 0)
          loaded[k] = from[static_cast<int64_t>(moved[k].from) * packs + column];
      }
      MESM_UNROLL
      for (int k = 0; k < kAtATime; ++k) {
        if (moved[k].from < 0) continue;
        if (weighted) loaded[k] = scaled(loaded[k], scales[k]);
        to[static_cast<int64_t>(moved[k].to) * packs + column] = loaded[k];
      }
    }
  }
}

template <class P>
MESM_BLOCK void zero_rows(P* packs, RowRange rows, int64_t packs_per_row) {
  const P zero{};
  packs += rows.begin * packs_per_row;
  for_each((rows.end - rows.begin) * packs_per_row, [&](int64_t i) { packs[i] = zero; });
}

template <class T>
MESM_BLOCK void fill(T* values, RowRange range, T value) {
  for_each(range.end - range.begin, [&](int64_t i) { values[range.begin + i] = value; });
}

}  // namespace mesm_ops
