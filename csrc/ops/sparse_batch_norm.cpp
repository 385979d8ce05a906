#include "../cpu/sparse_batch_norm.h"

#include <cmath>
#include <tuple>

#include "dispatch.h"
#include "tensor_checks.h"

MESM_KERNELS(SparseBatchNormKernels, sparse_batch_norm)

namespace mesm_ops {
namespace {

constexpr const char* kOp = "sparse_batch_norm";
constexpr int64_t kChunk = 256;  // rows summed together; fixed, so that threads change nothing

template <class F>
auto with_kernels(ScalarType dtype, const F& f) {
  const SparseBatchNormKernels& kernels = sparse_batch_norm_kernels();
  if (dtype == ScalarType::Double) return f(kernels.float64);
  if (dtype == ScalarType::BFloat16) return f(kernels.bfloat16);
  return f(kernels.float32);
}

using Triple = std::tuple<Tensor, Tensor, Tensor>;

// Per channel (x - mean) * scale + shift.
template <class P>
struct Affine {
  std::vector<P> scale, shift;

  Affine(const Tensor& weight, const Tensor& bias, const P* var, double eps)
      : scale(weight.numel()), shift(data<P>(bias), data<P>(bias) + bias.numel()) {
    for (size_t c = 0; c < scale.size(); ++c) {
      scale[c] = static_cast<P>(data<P>(weight)[c] / std::sqrt(var[c] + eps));
    }
  }
};

// Mean and biased variance over the rows: chunks by themselves, then merged in order (Chan et al.).
template <class T, class P>
void batch_moments(const SparseBatchNormKernelsOf<T, P>& kernels, const T* x, int64_t rows,
                   int64_t channels, P* mean, P* var) {
  const int64_t chunks = (rows + kChunk - 1) / kChunk;
  std::vector<double> means(chunks * channels), squares(chunks * channels);
  parallel_chunks(rows, kChunk, [&](int64_t begin, int64_t end) {
    const int64_t at = begin / kChunk * channels;
    kernels.moments(x + begin * channels, end - begin, channels, means.data() + at,
                    squares.data() + at);
  });
  for (int64_t c = 0; c < channels; ++c) {
    double count = 0, centre = 0, square = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      const double added = static_cast<double>(std::min(rows, (i + 1) * kChunk) - i * kChunk);
      const double difference = means[i * channels + c] - centre;
      const double total = count + added;
      centre += difference * added / total;
      square += squares[i * channels + c] + difference * difference * count * added / total;
      count = total;
    }
    mean[c] = static_cast<P>(centre);
    var[c] = rows > 0 ? static_cast<P>(square / rows) : P(0);
  }
}

template <class T, class P>
Triple norm(const SparseBatchNormKernelsOf<T, P>& kernels, const Tensor& features,
            const Frames& frames, const Tensor& weight, const Tensor& bias,
            const Tensor& running_mean, const Tensor& running_var, bool training, double eps,
            bool relu) {
  const int64_t channels = features.size(1);
  const T* x = data<T>(features);
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
  parallel_chunks(frames.active, kChunk, [&](int64_t begin, int64_t end) {
    kernels.normalize(x + begin * channels, end - begin, channels, data<P>(mean),
                      affine.scale.data(), affine.shift.data(), relu, to + begin * channels);
  });
  zero_rows(to, frames.active, features.size(0), channels);
  return {out, mean, var};
}

void check_parameter(const char* name, const Tensor& t, int64_t channels) {
  STD_TORCH_CHECK(t.is_cpu() && t.numel() == channels, kOp, ": ", name, " must have ", channels,
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

  const int64_t chunks = (rows + kChunk - 1) / kChunk;
  std::vector<double> weight_parts(chunks * channels), bias_parts(chunks * channels);
  parallel_chunks(rows, kChunk, [&](int64_t begin, int64_t end) {
    const int64_t at = begin / kChunk * channels;
    kernels.backward_sums(grad + begin * channels, x + begin * channels, end - begin, channels,
                          centre, scale, shift, relu, weight_parts.data() + at,
                          bias_parts.data() + at);
  });

  Tensor grad_weight = empty({channels}, weight.scalar_type());
  Tensor grad_bias = empty({channels}, weight.scalar_type());
  std::vector<P> offset(channels, P(0)), slope(channels, P(0));
  for (int64_t c = 0; c < channels; ++c) {
    double weight_sum = 0, bias_sum = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      weight_sum += weight_parts[i * channels + c];
      bias_sum += bias_parts[i * channels + c];
    }
    const double variance = data<P>(var)[c] + eps;
    mutable_data<P>(grad_weight)[c] = static_cast<P>(weight_sum / std::sqrt(variance));
    mutable_data<P>(grad_bias)[c] = static_cast<P>(bias_sum);
    if (training && rows > 0) {
      offset[c] = static_cast<P>(bias_sum / rows);
      slope[c] = static_cast<P>(weight_sum / variance / rows);
    }
  }

  Tensor grad_features = empty({features.size(0), channels}, features.scalar_type());
  T* to = mutable_data<T>(grad_features);
  parallel_chunks(rows, kChunk, [&](int64_t begin, int64_t end) {
    kernels.backward(grad + begin * channels, x + begin * channels, end - begin, channels, centre,
                     scale, shift, offset.data(), slope.data(), relu, to + begin * channels);
  });
  zero_rows(to, rows, features.size(0), channels);
  return {grad_features, grad_weight, grad_bias};
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

}  // namespace mesm_ops
