// Kernels of sparse_max_pool2d (2x2, stride 2). T: type of the features as stored.
#pragma once

#include <stdint.h>

#include "bfloat16.h"

namespace mesm_ops {

constexpr int kWindow = 4;  // sites of one pooling window

template <class T>
struct SparseMaxPool2dKernelsOf {
  // Maximum and its row over each window's active rows (-1 from the first missing row on).
  // argmax may be null.
  void (*maxima)(const T* features, int64_t channels, const int32_t* windows, int64_t count, T* out,
                 int32_t* argmax);

  // grad_in[argmax] += grad_out; false if an argmax is neither -1 nor in [0, in_rows).
  bool (*backward)(const T* grad_out, const int32_t* argmax, int64_t channels, int64_t count,
                   int64_t in_rows, T* grad_in);
};

struct SparseMaxPool2dKernels {
  // Active output sites, ascending, of one frame whose rows are [begin, end), and the input rows of
  // each output site in the order of sites. Returns how many there are; writes nothing if out_sites
  // is null.
  int64_t (*windows)(const int32_t* sites, int64_t begin, int64_t end, int64_t height,
                     int64_t width, int32_t* out_sites, int32_t* windows);
  SparseMaxPool2dKernelsOf<float> float32;
  SparseMaxPool2dKernelsOf<BFloat16> bfloat16;
  SparseMaxPool2dKernelsOf<double> float64;
};

}  // namespace mesm_ops
