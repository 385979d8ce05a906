// Types and functions of both passes of the block.
#pragma once

#include "batch_statistics.h"
#include "cross_modal_score.h"
#include "dispatch.h"
#include "kernels/sparse_max_pool2d.h"
#include "scratch.h"
#include "subm_conv2d.h"
#include "tensor_checks.h"
#include "top_p_select.h"

MESM_KERNELS(SparseMaxPool2dKernels, sparse_max_pool2d)

namespace mesm_ops {

inline constexpr const char* kBlock = "sparse_cross_modal_block";

template <class T>
const auto& pool_kernels() {
  return kernels_for<T>(sparse_max_pool2d_kernels());
}

// Calls f<T>() with T the type in which rows are stored and multiplied: the dtype's own, or float32
// for bfloat16 without dot products.
template <class F>
auto with_storage(ScalarType dtype, std::initializer_list<int64_t> depths, const F& f) {
  if (dtype == ScalarType::Double) return f.template operator()<double>();
  const bool dots = std::all_of(depths.begin(), depths.end(), multiplies_bfloat16);
  if (dtype == ScalarType::BFloat16 && dots) return f.template operator()<BFloat16>();
  return f.template operator()<float>();
}

struct Norm {
  Tensor weight, bias, mean, var;  // in the type of sums
  double eps;
};

// The parameters of a convolution and its norm, in the caller's dtypes.
struct Stage {
  const Tensor &weight, &norm_weight, &norm_bias;
  double eps;

  int64_t in() const { return weight.size(1); }
  int64_t out() const { return weight.size(0); }
};

inline void check_floating(const char* name, const Tensor& t, int64_t elements) {
  MESM_CHECK(t.is_cpu() && t.numel() == elements, kBlock, ": ", name, " must have ", elements,
             " elements on the CPU, got ", t.numel());
}

inline void check_stage(const Stage& stage, int64_t channels) {
  MESM_CHECK(stage.weight.is_cpu() && stage.weight.dim() == 4 && stage.in() == channels &&
                 stage.weight.size(2) == 3 && stage.weight.size(3) == 3,
             kBlock, ": weight must be (Cout, ", channels, ", 3, 3) on the CPU");
  check_floating("norm_weight", stage.norm_weight, stage.out());
  check_floating("norm_bias", stage.norm_bias, stage.out());
}

// The weight in a type that can be packed: T, or the type of sums.
template <class T>
Tensor packable(const Tensor& weight) {
  constexpr ScalarType stored = scalar_type_of<T>();
  return weight.scalar_type() == stored ? as_contiguous(weight)
                                        : as_dtype(weight, scalar_type_of<Sums<T>>());
}

template <class T>
Norm norm_of(const Stage& stage, const Tensor& mean, const Tensor& var) {
  constexpr ScalarType dtype = scalar_type_of<Sums<T>>();
  return {as_dtype(stage.norm_weight, dtype), as_dtype(stage.norm_bias, dtype),
          as_dtype(mean, dtype), as_dtype(var, dtype), stage.eps};
}

// relu(norm(y)) of all rows.
template <class T>
Tensor normalized(const Tensor& y, const Norm& norm, int64_t rows, Place place) {
  using A = Sums<T>;
  const int64_t channels = y.size(1);
  const Affine<A> affine(norm.weight, norm.bias, data<A>(norm.var), norm.eps);
  Tensor out = place({y.size(0), channels}, y.scalar_type());
  parallel_chunks(rows, kStatisticsRows, [&](int64_t begin, int64_t end) {
    norm_kernels<T>().normalize(data<T>(y) + begin * channels, end - begin, channels,
                                data<A>(norm.mean), affine.scale.data(), affine.shift.data(), true,
                                mutable_data<T>(out) + begin * channels);
  });
  return out;
}

}  // namespace mesm_ops
