#include "cross_modal_score.h"

#include "isa.h"
#include "tanh.h"
#include "tile.h"

namespace mesm_ops::MESM_ISA {
namespace {

template <class T>
int64_t packed_size(int64_t depth, int64_t columns) {
  return panels_of<T>(columns) * kPanel<T> * depth;
}

template <class T>
void pack(const T* weight, int64_t column_stride, int64_t depth_stride, int64_t depth,
          int64_t columns, int64_t panel, T* packed) {
  const int64_t lanes = vectors_of<T>(columns, panel) * kLanes<T>;
  const int64_t first = panel * kPanel<T>;
  packed += first * depth;
  for (int64_t d = 0; d < depth; ++d) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t column = first + lane;
      packed[d * lanes + lane] =
          column < columns ? weight[column * column_stride + d * depth_stride] : T(0);
    }
  }
}

template <class T>
void multiply(const T* x, int64_t x_stride, int64_t depth, const int32_t* rows, int64_t count,
              const T* packed, int64_t columns, T* out, int64_t out_stride) {
  for (int64_t panel = 0; panel < panels_of<T>(columns); ++panel) {
    const int64_t first = panel * kPanel<T>;
    multiply_rows<T, false>(x, x_stride, rows, out + first, out_stride, rows, count,
                            packed + first * depth, depth, vectors_of<T>(columns, panel));
  }
}

template <class T>
void activate(T* z, int64_t stride, int64_t count, const T* score, T bias, int64_t columns,
              T* logits) {
  for (int64_t i = 0; i < count; ++i) {
    T* row = z + i * stride;
    Vec<T> sum = {};
    for (int64_t c = 0; c < columns; c += kLanes<T>) {
      Vec<T> t = tanh_vec(load_vec(row + c));
      // Padding lanes are NaN where the features are infinite.
      for (int64_t lane = columns - c; lane < kLanes<T>; ++lane) t[lane] = 0;
      store_vec(row + c, t);
      sum += t * load_vec(score + c);
    }
    logits[i] = sum_of<T>(sum) + bias;
  }
}

template <class T>
void activate_backward(T* t, int64_t stride, int64_t count, const T* score, const T* grad,
                       int64_t columns, double* score_sums) {
  for (int64_t c = 0; c < columns; ++c) score_sums[c] = 0;
  for (int64_t i = 0; i < count; ++i) {
    T* row = t + i * stride;
    for (int64_t c = 0; c < columns; ++c) {
      score_sums[c] += static_cast<double>(grad[i]) * row[c];
      row[c] = grad[i] * score[c] * (T(1) - row[c] * row[c]);
    }
  }
}

template <class T>
void outer(const T* x, int64_t x_stride, int64_t depth, const T* y, int64_t y_stride,
           const int32_t* rows, int64_t count, int64_t columns, int64_t panel, T* grad_weight,
           int64_t grad_stride) {
  constexpr int64_t kBlock = 256;
  const int64_t first = panel * kPanel<T>;
  for (int64_t at = 0; at < count; at += kBlock) {
    const int64_t n = count - at < kBlock ? count - at : kBlock;
    outer_product(x, x_stride, rows + at, depth, y + first, y_stride, rows + at, n,
                  grad_weight + first, grad_stride, vectors_of<T>(columns, panel));
  }
}

}  // namespace

extern constinit const CrossModalScoreKernels cross_modal_score = {
    {panels_of<float>, packed_size<float>, pack<float>, multiply<float>, activate<float>,
     activate_backward<float>, outer<float>},
    {panels_of<double>, packed_size<double>, pack<double>, multiply<double>, activate<double>,
     activate_backward<double>, outer<double>},
};

}  // namespace mesm_ops::MESM_ISA
