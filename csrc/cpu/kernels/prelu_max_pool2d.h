// Kernels of prelu_max_pool2d: PReLU and the maximum over windows, in one pass over the maps.
#pragma once

#include <stdint.h>

namespace mesm_ops {

// Maps of one image, (height, width, channels), and those that come out. Windows begin `stride`
// apart; the last ones may reach over the edge.
struct PooledMaps {
  int64_t height, width, channels, window, stride, out_height, out_width;
};

struct PreluMaxPool2dKernels {
  // The maps (out_height, out_width, channels) of one image. Values must not be NaN.
  void (*image)(const float* maps, const float* slopes, const PooledMaps& sizes, float* out);
};

}  // namespace mesm_ops
