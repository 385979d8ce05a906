// Kernels of subm_conv2d, T = float or double. No tensors, no threads, no allocation in here.
#pragma once

#include <stdint.h>

#include "rulebook.h"

namespace mesm_ops {

template <class T>
struct SubmConv2dKernelsOf {
  // Columns of a product are worked on in panels, and its weights packed panel by panel.
  int64_t (*panels)(int64_t columns);
  int64_t (*packed_size)(int64_t depth, int64_t columns);

  // packed[panel][o][d][column] = weight[column * column_stride + d * depth_stride + (flip? 8-o :
  // o)]
  void (*pack)(const T* weight, int64_t column_stride, int64_t depth_stride, bool flip,
               int64_t depth, int64_t columns, int64_t panel, T* packed);

  // out[s] = bias + sum over o of x[s + o] * packed[o], for one group and panels [begin, end).
  // out_stride >= columns, a multiple of 16. bias may be null; else out_stride elements long.
  void (*forward)(const T* x, int64_t depth, const T* packed, const T* bias, int64_t columns,
                  const Rulebook& rulebook, const FrameGroup& group, int64_t group_index,
                  int64_t panel_begin, int64_t panel_end, T* out, int64_t out_stride);

  // grad_weight[d][column] += sum over pairs of offset o of x[in][d] * grad[out][column].
  void (*weight_gradient)(const T* x, int64_t depth, const T* grad, int64_t grad_stride,
                          int64_t columns, const Rulebook& rulebook, const FrameGroup* groups,
                          int64_t group_count, int64_t offset, int64_t panel, T* grad_weight);

  // sums[column] = sum of rows [begin, end).
  void (*column_sums)(const T* rows, int64_t stride, int64_t begin, int64_t end, int64_t columns,
                      double* sums);
};

struct SubmConv2dKernels {
  void (*list_pairs)(const int32_t* sites, const int32_t* offsets, int64_t width,
                     const FrameGroup& group, int64_t group_index, const Rulebook& rulebook);
  SubmConv2dKernelsOf<float> float32;
  SubmConv2dKernelsOf<double> float64;
};

}  // namespace mesm_ops
