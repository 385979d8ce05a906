// Rows of features as a block reads and writes them: 16 bytes at a time where they allow it.
#pragma once

#include "block.cuh"

namespace mesm_ops {

// offsets are the caller's: kept inside the rows, whatever they are.
MESM_BLOCK int64_t row_at(const int32_t* offsets, int64_t frame, int64_t rows) {
  const int64_t row = offsets[frame];
  return row < 0 ? 0 : (row > rows ? rows : row);
}

struct RowRange {
  int64_t begin, end;
};

MESM_BLOCK RowRange rows_of_frame(const int32_t* offsets, int64_t frame, int64_t rows) {
  const int64_t begin = row_at(offsets, frame, rows);
  const int64_t end = row_at(offsets, frame + 1, rows);
  return {begin, end < begin ? begin : end};
}

// The share of [begin, end) that falls to one of `parts`.
MESM_BLOCK RowRange share_of(int64_t begin, int64_t end, int64_t part, int64_t parts) {
  const int64_t number = end - begin;
  return {begin + number * part / parts, begin + number * (part + 1) / parts};
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

// How the threads of a block share out rows: `width` neighbouring lanes to a row.
struct RowGroups {
  int width, column, group, groups;

  MESM_BLOCK explicit RowGroups(int64_t packs) : width(1) {
    while (width < packs && width < kLanes) width *= 2;
    column = thread() % width;
    group = thread() / width;
    groups = threads() / width;
  }
};

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
