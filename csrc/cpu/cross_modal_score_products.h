// The products of matrices in cross_modal_score and its gradients.
#pragma once

#include <numeric>
#include <vector>

#include "dispatch.h"
#include "kernels/cross_modal_score.h"
#include "scratch.h"
#include "tensor_checks.h"

MESM_KERNELS(CrossModalScoreKernels, cross_modal_score)

namespace mesm_ops {

template <class T>
const CrossModalScoreKernelsOf<T>& score_kernels();
template <>
inline const CrossModalScoreKernelsOf<float>& score_kernels<float>() {
  return cross_modal_score_kernels().float32;
}
template <>
inline const CrossModalScoreKernelsOf<double>& score_kernels<double>() {
  return cross_modal_score_kernels().float64;
}

inline std::vector<int32_t> first_rows(int64_t count) {
  std::vector<int32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

// Packed for `multiply`; element (d, column) is read at column * column_stride + d * depth_stride.
template <class T>
Tensor packed(const Tensor& weight, int64_t column_stride, int64_t depth_stride, int64_t depth,
              int64_t columns) {
  const auto& kernels = score_kernels<T>();
  Tensor out = empty({kernels.packed_size(depth, columns)}, weight.scalar_type());
  T* to = mutable_data<T>(out);
  parallel(kernels.panels(columns), [&](int64_t panel) {
    kernels.pack(data<T>(weight), column_stride, depth_stride, depth, columns, panel, to);
  });
  return out;
}

// Rows of x times the transpose of a weight (columns, depth), both in their own dtype: bfloat16 by
// dot products where the machine has these, else in the type of sums.
template <class T>
class Projection {
 public:
  Projection(const Tensor& x, const Tensor& weight)
      : depth_(weight.size(1)),
        columns_(weight.size(0)),
        dots_(x.scalar_type() == ScalarType::BFloat16 && depth_ % 2 == 0 &&
              cross_modal_score_kernels().bfloat16 != nullptr),
        x_(dots_ ? x : as_dtype(x, scalar_type_of<T>())) {
    if (!dots_) {
      packed_ = packed<T>(as_dtype(weight, scalar_type_of<T>()), depth_, 1, depth_, columns_);
      return;
    }
    const auto& kernels = cross_modal_score_kernels().float32;
    packed_ = empty({2 * kernels.packed_size(depth_ / 2, columns_)}, ScalarType::BFloat16);
    parallel(kernels.panels(columns_), [&](int64_t panel) {
      cross_modal_score_kernels().bfloat16->pack(data<BFloat16>(weight), depth_, columns_, panel,
                                                 mutable_data<BFloat16>(packed_));
    });
  }

  // out (end - begin, stride) += the products of rows [begin, end); local: 0, 1, 2, ...
  void add(int64_t begin, int64_t end, const int32_t* local, T* out, int64_t stride) const {
    if constexpr (sizeof(T) == sizeof(float)) {
      if (dots_) {
        cross_modal_score_kernels().bfloat16->multiply(
            data<BFloat16>(x_) + begin * depth_, depth_, depth_, local, end - begin,
            data<BFloat16>(packed_), columns_, out, stride);
        return;
      }
    }
    score_kernels<T>().multiply(data<T>(x_) + begin * depth_, depth_, depth_, local, end - begin,
                                data<T>(packed_), columns_, out, stride);
  }

 private:
  int64_t depth_, columns_;
  bool dots_;
  Tensor x_, packed_;
};

// x (rows, x_stride >= depth), zeros but in a row's first depth columns, times packed (depth,
// columns): (rows, columns), zero from `rows` on, in the dtype of `like`.
template <class T>
class Product {
 public:
  Product(const Tensor& packed_weight, int64_t depth, int64_t columns, int64_t all_rows,
          ScalarType dtype)
      : packed_(packed_weight),
        depth_(depth),
        columns_(columns),
        stride_(padded_columns(columns)),
        direct_(stride_ == columns && dtype == scalar_type_of<T>()),
        out_(empty({all_rows, columns}, dtype)) {}

  // Forms rows [begin, end) from x, the first of them.
  void form(const T* x, int64_t x_stride, int64_t begin, int64_t end, const int32_t* local) const {
    const int64_t count = end - begin;
    T* sums = direct_ ? mutable_data<T>(out_) + begin * columns_ : scratch<T, 3>(count * stride_);
    std::fill_n(sums, count * stride_, T(0));
    score_kernels<T>().multiply(x, x_stride, depth_, local, count, data<T>(packed_), columns_, sums,
                                stride_);
    if (direct_) return;
    if constexpr (sizeof(T) == sizeof(float)) {
      if (out_.scalar_type() == ScalarType::BFloat16) {
        cross_modal_score_kernels().narrow(sums, stride_, count, columns_,
                                           mutable_data<BFloat16>(out_) + begin * columns_);
        return;
      }
    }
    T* to = mutable_data<T>(out_) + begin * columns_;
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(sums + i * stride_, columns_, to + i * columns_);
  }

  // All products, with zeros in the rows after.
  Tensor zeros_from(int64_t rows) const {
    const int64_t size = out_.numel() - rows * columns_;
    const int64_t bytes = out_.element_size();
    if (size > 0) {
      std::memset(static_cast<char*>(out_.mutable_data_ptr()) + rows * columns_ * bytes, 0,
                  size * bytes);
    }
    return out_;
  }

 private:
  Tensor packed_;
  int64_t depth_, columns_, stride_;
  bool direct_;
  Tensor out_;
};

// to (depth, y_stride) += sum over rows of x[row]^T y[row]; y_stride a multiple of 16, >= columns.
template <class T>
void add_outer(const T* x, int64_t x_stride, int64_t rows, int64_t depth, const T* y,
               int64_t y_stride, int64_t columns, T* to) {
  constexpr int64_t kDepth = 24;  // a task's depth: two tiles of the widest instruction set
  constexpr int64_t kRows = 256;
  const auto& kernels = score_kernels<T>();
  const std::vector<int32_t> local = first_rows(kRows);
  const int64_t panels = kernels.panels(columns);
  parallel((depth + kDepth - 1) / kDepth * panels, [&](int64_t task) {
    const int64_t first = task / panels * kDepth;
    for (int64_t row = 0; row < rows; row += kRows) {
      kernels.outer(x + row * x_stride + first, x_stride, std::min(kDepth, depth - first),
                    y + row * y_stride, y_stride, local.data(), std::min(kRows, rows - row),
                    columns, task % panels, to + first * y_stride, y_stride);
    }
  });
}

}  // namespace mesm_ops
