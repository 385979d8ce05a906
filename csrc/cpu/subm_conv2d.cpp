#include "subm_conv2d.h"

#include <tuple>

namespace mesm_ops {
namespace {

constexpr const char* kOp = "subm_conv2d";

template <class T>
Tensor bias_gradient(const Tensor& grad, int64_t active) {
  constexpr int64_t kChunk = 256;
  const int64_t columns = grad.size(1);
  std::vector<double> partial((active + kChunk - 1) / kChunk * columns);
  parallel_chunks(active, kChunk, [&](int64_t begin, int64_t end) {
    convolution_kernels<T>().column_sums(data<T>(grad), columns, begin, end, columns,
                                         partial.data() + begin / kChunk * columns);
  });
  std::vector<double> sums(columns, 0.0);
  for (size_t i = 0; i < partial.size(); ++i) sums[i % columns] += partial[i];
  Tensor out = empty({columns}, scalar_type_of<Sums<T>>());
  std::transform(sums.begin(), sums.end(), mutable_data<Sums<T>>(out),
                 [](double sum) { return static_cast<Sums<T>>(sum); });
  return out;
}

void check_weight(const Tensor& features, const Tensor& weight) {
  MESM_CHECK(weight.dim() == 4 && weight.size(1) == features.size(1) && weight.size(2) == 3 &&
                 weight.size(3) == 3,
             kOp, ": weight must be (Cout, ", features.size(1), ", 3, 3)");
  check_operand(kOp, "weight", weight, weight.size(0) * weight.size(1) * kTaps,
                features.scalar_type());
}

// Calls f<T>() with T the type in which features are multiplied: the dtype's own, or float32 for
// bfloat16 where the machine has no bfloat16 dot products.
template <class F>
auto with_product_type(ScalarType dtype, int64_t depth, const F& f) {
  if (dtype == ScalarType::Double) return f.template operator()<double>();
  if (dtype == ScalarType::BFloat16 && multiplies_bfloat16(depth)) {
    return f.template operator()<BFloat16>();
  }
  return f.template operator()<float>();
}

Tensor subm_conv2d(const Tensor& features, const Tensor& sites, const Tensor& offsets,
                   int64_t height, int64_t width, const Tensor& weight,
                   const std::optional<Tensor>& bias) {
  check_features(kOp, features);
  check_weight(features, weight);
  const int64_t columns = weight.size(0);
  const int64_t depth = weight.size(1);
  if (bias.has_value()) check_operand(kOp, "bias", *bias, columns, features.scalar_type());
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const Tensor site = check_sites(kOp, sites, frames, features.size(0), height, width);
  const ActivePairs pairs(frames, data<int32_t>(site), width);
  return with_product_type(features.scalar_type(), depth, [&]<class T>() {
    const Tensor x = as_dtype(features, scalar_type_of<T>());
    const Tensor typed = as_dtype(weight, scalar_type_of<T>());
    const Weights weights{typed, false, depth, columns};
    std::optional<Tensor> start;
    if (bias.has_value()) start = as_dtype(*bias, scalar_type_of<Sums<T>>());
    const Sums<T>* added = start.has_value() ? data<Sums<T>>(*start) : nullptr;
    return as_dtype(convolve<T>(x, weights, added, pairs), features.scalar_type());
  });
}

using Gradients = std::tuple<Tensor, Tensor, Tensor>;

Gradients subm_conv2d_backward(const Tensor& grad_out, const Tensor& features, const Tensor& sites,
                               const Tensor& offsets, int64_t height, int64_t width,
                               const Tensor& weight, bool needs_features, bool needs_weight,
                               bool needs_bias) {
  check_features(kOp, features);
  check_weight(features, weight);
  const ScalarType dtype = features.scalar_type();
  const int64_t columns = weight.size(0);
  const int64_t depth = weight.size(1);
  check_operand(kOp, "grad_out", grad_out, features.size(0) * columns, dtype);
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const Tensor site = check_sites(kOp, sites, frames, features.size(0), height, width);
  const ActivePairs pairs(frames, data<int32_t>(site), width);
  Gradients out{empty({0}, dtype), empty({0}, dtype), empty({0}, dtype)};
  if (needs_features) {
    // The same convolution with the kernel turned by 180 degrees and channels exchanged.
    with_product_type(dtype, columns, [&]<class T>() {
      const Tensor typed = as_dtype(weight, scalar_type_of<T>());
      const Weights weights{typed, true, columns, depth};
      const Tensor grad = as_dtype(grad_out, scalar_type_of<T>());
      std::get<0>(out) = as_dtype(convolve<T>(grad, weights, nullptr, pairs), dtype);
    });
  }
  // The weight gradient multiplies pairs of rows, so the depth may be odd.
  with_product_type(dtype, 0, [&]<class T>() {
    const Tensor grad = as_dtype(grad_out, scalar_type_of<T>());
    if (needs_weight) {
      const Tensor x = as_dtype(features, scalar_type_of<T>());
      std::get<1>(out) = as_dtype(weight_gradient<T>(x, grad, columns, pairs), dtype);
    }
    if (needs_bias) {
      std::get<2>(out) = as_dtype(bias_gradient<T>(grad, pairs.book.rows), dtype);
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("subm_conv2d", TORCH_BOX(&subm_conv2d));
  m.impl("subm_conv2d_backward", TORCH_BOX(&subm_conv2d_backward));
}

STABLE_TORCH_LIBRARY_IMPL(mesm_ops, CPU, m) {
  m.impl("subm_conv2d", TORCH_BOX(&subm_conv2d));
  m.impl("subm_conv2d_backward", TORCH_BOX(&subm_conv2d_backward));
}

}  // namespace mesm_ops
