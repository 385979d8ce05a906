// Kernels of sparse_batch_norm. T: type of the features as stored; statistics in double.
#pragma once

#include <stdint.h>

#include "bfloat16.h"

namespace mesm_ops {

template <class T, class P>  // P: type of weight, bias and the op's returned statistics
struct SparseBatchNormKernelsOf {
  // mean[c] and squares[c], the sum of squared differences from the mean, over `rows` > 0 rows.
  void (*moments)(const T* x, int64_t rows, int64_t channels, double* mean, double* squares);

  // out = (x - mean) * scale + shift; with relu, negative results become 0.
  void (*normalize)(const T* x, int64_t rows, int64_t channels, const P* mean, const P* scale,
                    const P* shift, bool relu, T* out);

  // With g = grad_out where out > 0, or everywhere without relu:
  // bias_sums[c] = sum g, weight_sums[c] = sum g * (x - mean).
  void (*backward_sums)(const T* grad_out, const T* x, int64_t rows, int64_t channels,
                        const P* mean, const P* scale, const P* shift, bool relu,
                        double* weight_sums, double* bias_sums);

  // grad = scale * (g - intercept - slope * (x - mean)); slope null: grad = scale * g.
  void (*backward)(const T* grad_out, const T* x, int64_t rows, int64_t channels, const P* mean,
                   const P* scale, const P* shift, const P* intercept, const P* slope, bool relu,
                   T* grad);
};

struct SparseBatchNormKernels {
  SparseBatchNormKernelsOf<float, float> float32;
  SparseBatchNormKernelsOf<BFloat16, float> bfloat16;
  SparseBatchNormKernelsOf<double, double> float64;
};

}  // namespace mesm_ops
