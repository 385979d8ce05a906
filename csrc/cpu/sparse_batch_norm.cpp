#include <tuple>

#include "batch_statistics.h"
#include "tensor_checks.h"

namespace mesm_ops {
namespace {

constexpr const char* kOp = "sparse_batch_norm";

template <class F>
auto with_kernels(ScalarType dtype, const F& f) {
  const SparseBatchNormKernels& kernels = sparse_batch_norm_kernels();
  if (dtype == ScalarType::Double) return f(kernels.float64);
  if (dtype == ScalarType::BFloat16) return f(kernels.bfloat16);
  return f(kernels.float32);
}

using Triple = std::tuple<Tensor, Tensor, Tensor>;

template <class T, class P>
Triple norm(const SparseBatchNormKernelsOf<T, P>& kernels, const Tensor& features,
            const Frames& frames, const Tensor& weight, const Tensor& bias,
            const Tensor& running_mean, const Tensor& running_var, bool training, double eps,
            bool relu) {
  const int64_t channels = features.size(1);
  const T* x = data<T>(features);
  check_variances<P>(kOp, "running_var", running_var);
  Tensor mean = empty({channels}, weight.scalar_type());
  Tensor var = empty({channels}, weight.scalar_type());
  if (training) {
    batch_moments(kernels, x, frames.active, channels, mutable_data<P>(mean), mutable_data<P>(var));
  } else {
    std::copy_n(data<P>(running_mean), channels, mutable_data<P>(mean));
    std::copy_n(data<P>(running_var), channels, mutable_data<P>(var));
  }
  const Affine<P> affine(weight, bias, data<P>(var), eps);
  Tensor out = empty({features.size(0), channels}, features.scalar_type());
  T* to = mutable_data<T>(out);
  parallel_chunks(frames.active, kStatisticsRows, [&](int64_t begin, int64_t end) {
    kernels.normalize(x + begin * channels, end - begin, channels, data<P>(mean),
                      affine.scale.data(), affine.shift.data(), relu, to + begin * channels);
  });
  zero_rows(to, frames.active, features.size(0), channels);
  return {out, mean, var};
}

void check_parameter(const char* name, const Tensor& t, int64_t channels) {
  MESM_CHECK(t.is_cpu() && t.numel() == channels, kOp, ": ", name, " must have ", channels,
             " elements on the CPU, got ", t.numel());
}

Triple sparse_batch_norm(const Tensor& features, const Tensor& offsets, const Tensor& weight,
                         const Tensor& bias, const Tensor& running_mean, const Tensor& running_var,
                         bool training, double eps, bool relu) {
  check_features(kOp, features);
  const int64_t channels = features.size(1);
  check_parameter("weight", weight, channels);
  check_parameter("bias", bias, channels);
  check_parameter("running_mean", running_mean, channels);
  check_parameter("running_var", running_var, channels);
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const ScalarType dtype = compute_dtype(features.scalar_type());
  return with_kernels(features.scalar_type(), [&](const auto& kernels) {
    return norm(kernels, as_contiguous(features), frames, as_dtype(weight, dtype),
                as_dtype(bias, dtype), as_dtype(running_mean, dtype), as_dtype(running_var, dtype),
                training, eps, relu);
  });
}

template <class T, class P>
Triple norm_backward(const SparseBatchNormKernelsOf<T, P>& kernels, const Tensor& grad_out,
                     const Tensor& features, const Frames& frames, const Tensor& weight,
                     const Tensor& bias, const Tensor& mean, const Tensor& var, bool training,
                     double eps, bool relu) {
  const int64_t channels = features.size(1);
  const int64_t rows = frames.active;
  const T* x = data<T>(features);
  const T* grad = data<T>(grad_out);
  const P* centre = data<P>(mean);
  const Affine<P> affine(weight, bias, data<P>(var), eps);
  const P* scale = affine.scale.data();
  const P* shift = affine.shift.data();

  const int64_t chunks = (rows + kStatisticsRows - 1) / kStatisticsRows;
  std::vector<double> weight_parts(chunks * channels), bias_parts(chunks * channels);
  parallel_chunks(rows, kStatisticsRows, [&](int64_t begin, int64_t end) {
    const int64_t at = begin / kStatisticsRows * channels;
    kernels.backward_sums(grad + begin * channels, x + begin * channels, end - begin, channels,
                          centre, scale, shift, relu, weight_parts.data() + at,
                          bias_parts.data() + at);
  });

  const NormGradient<P> gradient(weight_parts, bias_parts, channels, data<P>(var), eps, training,
                                 rows);
  Tensor grad_features = empty({features.size(0), channels}, features.scalar_type());
  T* to = mutable_data<T>(grad_features);
  parallel_chunks(rows, kStatisticsRows, [&](int64_t begin, int64_t end) {
    kernels.backward(grad + begin * channels, x + begin * channels, end - begin, channels, centre,
                     scale, shift, gradient.intercept.data(),
                     training ? gradient.slope.data() : nullptr, relu, to + begin * channels);
  });
  zero_rows(to, rows, features.size(0), channels);
  return {grad_features, gradient.weight, gradient.bias};
}

Triple sparse_batch_norm_backward(const Tensor& grad_out, const Tensor& features,
                                  const Tensor& offsets, const Tensor& weight, const Tensor& bias,
                                  const Tensor& mean, const Tensor& var, bool training, double eps,
                                  bool relu) {
  check_features(kOp, features);
  const int64_t channels = features.size(1);
  check_operand(kOp, "grad_out", grad_out, features.numel(), features.scalar_type());
  check_parameter("weight", weight, channels);
  check_parameter("bias", bias, channels);
  check_parameter("mean", mean, channels);
  check_parameter("var", var, channels);
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const ScalarType dtype = compute_dtype(features.scalar_type());
  Triple out = with_kernels(features.scalar_type(), [&](const auto& kernels) {
    return norm_backward(kernels, as_contiguous(grad_out), as_contiguous(features), frames,
                         as_dtype(weight, dtype), as_dtype(bias, dtype), as_dtype(mean, dtype),
                         as_dtype(var, dtype), training, eps, relu);
  });
  std::get<1>(out) = as_dtype(std::get<1>(out), weight.scalar_type());
  std::get<2>(out) = as_dtype(std::get<2>(out), bias.scalar_type());
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("sparse_batch_norm", TORCH_BOX(&sparse_batch_norm));
  m.impl("sparse_batch_norm_backward", TORCH_BOX(&sparse_batch_norm_backward));
}

STABLE_TORCH_LIBRARY_IMPL(mesm_ops, CPU, m) {
  m.impl("sparse_batch_norm", TORCH_BOX(&sparse_batch_norm));
  m.impl("sparse_batch_norm_backward", TORCH_BOX(&sparse_batch_norm_backward));
}

}  // namespace mesm_ops
