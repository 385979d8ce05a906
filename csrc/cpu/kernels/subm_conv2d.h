// Kernels of subm_conv2d, without tensors, threads or allocation. T: stored type of features and
// packed weights; A: type of sums and of weight gradients.
#pragma once

#include <stdint.h>

#include "bfloat16.h"
#include "rulebook.h"

namespace mesm_ops {

template <class T, class A>
struct SubmConv2dKernelsOf {
  // A product is formed panel by panel of its columns, and its weights are packed in panels.
  int64_t panel;                         // columns of a panel, and stride of its sums
  int64_t (*panel_size)(int64_t depth);  // elements of a packed panel

  // One panel, from weight (columns, depth, 3, 3), or, with `transposed`, from weight (depth,
  // columns, 3, 3) turned by 180 degrees, which is the convolution of the input gradient.
  void (*pack)(const A* weight, bool transposed, int64_t depth, int64_t columns, int64_t panel,
               T* packed);
  void (*pack_stored)(const T* weight, bool transposed, int64_t depth, int64_t columns,
                      int64_t panel, T* packed);

  // sums[s] = sum over taps of x[s + tap] * packed[tap]: a group's rows, one panel. x: the group's
  // first row; packed: the panel's weights; depth even if T is BFloat16; next_size elements from
  // `next` on are fetched into the second cache meanwhile.
  void (*convolve)(const T* x, int64_t depth, const T* packed, int64_t columns,
                   const Rulebook& rulebook, const FrameGroup& group, int64_t group_index,
                   int64_t panel, A* sums, const T* next, int64_t next_size);

  // out[row] = sums * scale + shift, then a ReLU if `relu`, for one panel; scale or shift may be
  // null.
  void (*store)(const A* sums, int64_t rows, int64_t columns, int64_t panel, const A* scale,
                const A* shift, bool relu, T* out);

  // Elements of T that weight_gradient needs.
  int64_t (*scratch_size)(int64_t depth);

  // grad_weight[d][column] += sum over pairs of one tap in one group of x[in][d] *
  // grad[out][column], one panel of columns, depth [begin, end). x, grad: the group's first row.
  // grad_stride: a multiple of 16, >= columns, of grad_weight; of grad too unless T is BFloat16.
  void (*weight_gradient)(const T* x, int64_t depth, int64_t begin, int64_t end, const T* grad,
                          int64_t grad_stride, int64_t columns, const Rulebook& rulebook,
                          const FrameGroup& group, int64_t group_index, int64_t tap, int64_t panel,
                          A* grad_weight, T* scratch);

  // to[column][d][tap] = the sum over parts of from[part][tap][d][column], for columns
  // [begin, end).
  void (*unpack)(const A* from, int64_t parts, int64_t stride, int64_t depth, int64_t begin,
                 int64_t end, A* to);

  // sums[column] = sum of rows [begin, end).
  void (*column_sums)(const T* rows, int64_t stride, int64_t begin, int64_t end, int64_t columns,
                      double* sums);
};

struct SubmConv2dKernels {
  void (*list_pairs)(const int32_t* sites, const int32_t* offsets, int64_t width,
                     const FrameGroup& group, int64_t group_index, const Rulebook& rulebook);
  SubmConv2dKernelsOf<float, float> float32;
  // Null where there are no bfloat16 dot products: widen to float32 instead.
  const SubmConv2dKernelsOf<BFloat16, float>* bfloat16;
  SubmConv2dKernelsOf<double, double> float64;
};

}  // namespace mesm_ops
