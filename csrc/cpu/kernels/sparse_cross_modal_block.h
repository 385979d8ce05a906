// The fused block's kernels beside the kernels of its ops.
#pragma once

#include <stdint.h>

#include "bfloat16.h"

namespace mesm_ops {

struct SparseCrossModalBlockKernels {
  // to += from
  void (*add_float32)(const float* from, int64_t count, float* to);
  void (*add_bfloat16)(const BFloat16* from, int64_t count, BFloat16* to);
  void (*add_float64)(const double* from, int64_t count, double* to);
};

}  // namespace mesm_ops
