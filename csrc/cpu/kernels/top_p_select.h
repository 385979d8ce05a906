// Kernels of top_p_select. T: stored type of the features; A: type of logits and attention.
#pragma once

#include <stdint.h>

#include "bfloat16.h"

namespace mesm_ops {

template <class A>
struct TopPSelectionKernelsOf {
  // One frame of `count` candidates: attention = softmax(logits); kept = the nucleus, in ascending
  // order. Returns how many are kept. scratch: 4 * count int64. p >= 1, or a NaN, keeps all.
  int64_t (*nucleus)(const A* logits, int64_t count, double p, A* attention, int32_t* kept,
                     int64_t* scratch);

  // grad_logits of one frame from the gradient of its attention (0 where a site was not kept).
  void (*softmax_backward)(const A* attention, const A* grad_attention, int64_t count,
                           A* grad_logits);

  // The same from the gradient of the attention's logarithm.
  void (*log_softmax_backward)(const A* attention, const A* grad_log, int64_t count,
                               A* grad_logits);
};

template <class T, class A>
struct TopPRowKernelsOf {
  // out[i] = features[rows[i]] * (candidates * attention[rows[i]]), or unscaled if attention is
  // null.
  void (*gather)(const T* features, int64_t channels, const int32_t* rows, int64_t count,
                 const A* attention, int64_t candidates, T* out);

  // grad_features[rows[i]] = grad_out[i] scaled as above; moments[rows[i]] = grad_out[i] .
  // features[rows[i]], times candidates if scaled, unless moments is null.
  void (*scatter)(const T* grad_out, int64_t channels, const int32_t* rows, int64_t count,
                  const A* attention, int64_t candidates, const T* features, T* grad_features,
                  A* moments);
};

struct TopPSelectKernels {
  TopPSelectionKernelsOf<float> attention32;
  TopPSelectionKernelsOf<double> attention64;
  TopPRowKernelsOf<float, float> float32;
  TopPRowKernelsOf<BFloat16, float> bfloat16;
  TopPRowKernelsOf<double, double> float64;
};

}  // namespace mesm_ops
