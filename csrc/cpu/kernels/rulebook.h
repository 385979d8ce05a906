// Exact active pairs of a 3x3 submanifold convolution.
#pragma once

#include <stdint.h>

namespace mesm_ops {

// Frames [frame_begin, frame_end) worked on together: rows [row_begin, row_end).
struct FrameGroup {
  int64_t frame_begin, frame_end;
  int64_t row_begin, row_end;
};

// A tap is a position of the 3x3 kernel: tap = 3 * (dy + 1) + (dx + 1).
constexpr int kTaps = 9;
constexpr int kEarlierTaps = 4;  // taps 0..3 lead to a site earlier in the order of sites
constexpr int kCentreTap = 4;    // leads from a site to itself

// Pairs of the earlier taps only: tap 8 - t has the pairs of tap t with the ends exchanged, and the
// centre tap pairs every row with itself. A group's pairs of a tap start at tap * rows +
// row_begin. Rows are counted from the group's first.
struct Rulebook {
  int64_t rows;      // N, stride between taps
  int32_t* earlier;  // (4, N) the row at the site that the tap leads to from s
  int32_t* later;    // (4, N) the row at s, ascending
  int32_t* self;     // 0, 1, 2, ... as far as any group has rows
  int32_t* counts;   // (groups, 4)
};

}  // namespace mesm_ops
