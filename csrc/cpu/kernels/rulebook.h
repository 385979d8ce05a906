// Exact active pairs of a 3x3 submanifold convolution.
#pragma once

#include <stdint.h>

namespace mesm_ops {

// Frames [frame_begin, frame_end) worked on together: rows [row_begin, row_end).
struct FrameGroup {
  int64_t frame_begin, frame_end;
  int64_t row_begin, row_end;
};

constexpr int kOffsets = 9;  // of a 3x3 kernel, o = 3 * (dy + 1) + (dx + 1)
constexpr int kEarlier = 4;  // offsets 0..3 name a site earlier in the order of sites

// Pairs of the earlier offsets only: offset 8 - o has those of offset o with the ends exchanged,
// and offset 4 has every row with itself. A group's pairs of offset o start at o * rows +
// row_begin. Rows are counted from the group's first.
struct Rulebook {
  int64_t rows;      // N, stride between offsets
  int32_t* earlier;  // (4, N) the row at s + offset
  int32_t* later;    // (4, N) the row at s, ascending
  int32_t* self;     // 0, 1, 2, ... as far as any group has rows
  int32_t* counts;   // (groups, 4)
};

}  // namespace mesm_ops
