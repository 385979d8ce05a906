#include "kernels/prelu_max_pool2d.h"

#include "dispatch.h"
#include "tensor_checks.h"

MESM_KERNELS(PreluMaxPool2dKernels, prelu_max_pool2d)

namespace mesm_ops {
namespace {

constexpr const char* kOp = "prelu_max_pool2d";

// maps (N, H, W, C), slopes (C): (N, h, w, C), where the last windows may reach over the edge.
Tensor prelu_max_pool2d(const Tensor& maps, const Tensor& slopes, int64_t window, int64_t stride) {
  MESM_CHECK(maps.is_cpu() && maps.dim() == 4 && maps.scalar_type() == ScalarType::Float, kOp,
             ": maps must be (N, H, W, C) float32 on the CPU");
  const int64_t number = maps.size(0);
  const int64_t height = maps.size(1);
  const int64_t width = maps.size(2);
  const int64_t channels = maps.size(3);
  MESM_CHECK(slopes.is_cpu() && slopes.scalar_type() == ScalarType::Float && slopes.dim() == 1 &&
                 slopes.size(0) == channels,
             kOp, ": slopes must be (", channels, ") float32 on the CPU");
  MESM_CHECK(stride >= 1 && stride <= window && window <= height && window <= width, kOp,
             ": stride must be from 1 to window, and maps at least one window wide and high, got ",
             "stride ", stride, ", window ", window, ", maps of ", height, " x ", width);
  const auto outputs = [&](int64_t size) { return (size - window + stride - 1) / stride + 1; };
  const PooledMaps sizes = {height, width,           channels,      window,
                            stride, outputs(height), outputs(width)};
  const Tensor values = as_contiguous(maps);
  const Tensor falls = as_contiguous(slopes);
  Tensor out = empty({number, sizes.out_height, sizes.out_width, channels}, ScalarType::Float);
  const float* from = data<float>(values);
  const float* slope = data<float>(falls);
  float* to = mutable_data<float>(out);
  const PreluMaxPool2dKernels& kernels = prelu_max_pool2d_kernels();
  parallel(number, [&](int64_t n) {
    kernels.image(from + n * height * width * channels, slope, sizes,
                  to + n * sizes.out_height * sizes.out_width * channels);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("prelu_max_pool2d", TORCH_BOX(&prelu_max_pool2d));
}

}  // namespace mesm_ops
