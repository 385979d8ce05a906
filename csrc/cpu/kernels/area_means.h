// Kernels of area_means: parts of frames of bytes, shrunk or widened to one size.
#pragma once

#include <stdint.h>

namespace mesm_ops {

constexpr int kColours = 3;

// A part of a frame (height, width, 3), and the size that it gets.
struct AreaPart {
  const uint8_t* frame;
  int64_t frame_width;            // pixels
  int64_t x0, y0, width, height;  // the part, inside of the frame
  int64_t out_height, out_width;
};

struct AreaMeansKernels {
  // Elements of int32 of working memory that rows() needs for parts of such widths.
  int64_t (*scratch_size)(int64_t width, int64_t out_width);

  // Rows [begin, end) of the resized part: means over the pixels that each covers, about -1 to 1.
  // out: the part's (out_height, out_width, 3).
  void (*rows)(const AreaPart& part, int64_t begin, int64_t end, int32_t* scratch, float* out);
};

}  // namespace mesm_ops
