// Kernels of cross_modal_score, T = float or double: the type of sums.
//   z_i = map_weight x_i + map_bias + query_weight q_{sample of i},  logit_i = score . tanh(z_i) +
//   b
#pragma once

#include <stdint.h>

#include "bfloat16.h"

namespace mesm_ops {

template <class T>
struct CrossModalScoreKernelsOf {
  int64_t (*panels)(int64_t columns);
  int64_t (*packed_size)(int64_t depth, int64_t columns);

  // packed[panel][d][column] = weight[column * column_stride + d * depth_stride]
  void (*pack)(const T* weight, int64_t column_stride, int64_t depth_stride, int64_t depth,
               int64_t columns, int64_t panel, T* packed);

  // out[row] += x[row] * packed for rows listed, all panels; out_stride a multiple of 16, >=
  // columns.
  void (*multiply)(const T* x, int64_t x_stride, int64_t depth, const int32_t* rows, int64_t count,
                   const T* packed, int64_t columns, T* out, int64_t out_stride);

  // Overwrites z (count, stride) by tanh(z), padding columns by 0; logits[i] = score . z_i + bias.
  void (*activate)(T* z, int64_t stride, int64_t count, const T* score, T bias, int64_t columns,
                   T* logits);

  // From t = tanh(z): score_sums[c] = sum_i g_i t_ic, then t_ic becomes dz_ic = g_i score_c
  // (1-t^2).
  void (*activate_backward)(T* t, int64_t stride, int64_t count, const T* score, const T* grad,
                            int64_t columns, double* score_sums);

  // grad_weight[d][column] += sum_i x[row_i][d] * y[row_i][column], one panel of columns.
  // y_stride, grad_stride multiples of 16, >= columns.
  void (*outer)(const T* x, int64_t x_stride, int64_t depth, const T* y, int64_t y_stride,
                const int32_t* rows, int64_t count, int64_t columns, int64_t panel, T* grad_weight,
                int64_t grad_stride);

  // sums[c] = sum of x[i][c] over count rows.
  void (*column_sums)(const T* x, int64_t stride, int64_t count, int64_t columns, double* sums);
};

// Products of bfloat16 rows by dot products, of an even depth; as `pack` and `multiply` above.
struct BFloat16ProductKernels {
  // packed: 2 * packed_size(depth / 2, columns) of float32; weight (columns, depth).
  void (*pack)(const BFloat16* weight, int64_t depth, int64_t columns, int64_t panel,
               BFloat16* packed);
  void (*multiply)(const BFloat16* x, int64_t x_stride, int64_t depth, const int32_t* rows,
                   int64_t count, const BFloat16* packed, int64_t columns, float* out,
                   int64_t out_stride);
};

struct CrossModalScoreKernels {
  CrossModalScoreKernelsOf<float> float32;
  CrossModalScoreKernelsOf<double> float64;
  // Null where there are no bfloat16 dot products: widen to float32 instead.
  const BFloat16ProductKernels* bfloat16;
  // Rows (count, columns) as float32 (count, stride), zeros after the columns, and rounded back.
  void (*widen)(const BFloat16* rows, int64_t columns, int64_t count, int64_t stride, float* to);
  void (*narrow)(const float* rows, int64_t stride, int64_t count, int64_t columns, BFloat16* to);
};

}  // namespace mesm_ops
