#include "kernels/sparse_max_pool2d.h"

#include <tuple>

#include "dispatch.h"
#include "scratch.h"
#include "tensor_checks.h"

MESM_KERNELS(SparseMaxPool2dKernels, sparse_max_pool2d)

namespace mesm_ops {
namespace {

constexpr const char* kOp = "sparse_max_pool2d";

template <class F>
auto with_kernels(ScalarType dtype, const F& f) {
  const SparseMaxPool2dKernels& kernels = sparse_max_pool2d_kernels();
  if (dtype == ScalarType::Double) return f(kernels.float64);
  if (dtype == ScalarType::BFloat16) return f(kernels.bfloat16);
  return f(kernels.float32);
}

using Pooled = std::tuple<Tensor, Tensor, Tensor, Tensor>;

template <class T>
Pooled pool(const SparseMaxPool2dKernelsOf<T>& kernels, const Tensor& features, const Tensor& sites,
            const Frames& frames, int64_t height, int64_t width, bool trim) {
  const int64_t channels = features.size(1);
  const int32_t* site = data<int32_t>(sites);
  // A frame has no more windows than rows: the frame's windows are listed where its rows begin.
  int32_t* window = scratch<int32_t, 1>(frames.active * kWindow);
  int32_t* window_site = scratch<int32_t, 2>(frames.active);
  Tensor out_offsets = empty({frames.count + 1}, ScalarType::Int);
  int32_t* out_offset = mutable_data<int32_t>(out_offsets);
  out_offset[0] = 0;
  parallel_chunks(frames.count, 4, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      const int64_t first = frames.offsets[f];
      out_offset[f + 1] = static_cast<int32_t>(
          sparse_max_pool2d_kernels().windows(site, first, frames.offsets[f + 1], height, width,
                                              window_site + first, window + first * kWindow));
    }
  });
  for (int64_t f = 0; f < frames.count; ++f) out_offset[f + 1] += out_offset[f];

  const int64_t number = out_offset[frames.count];
  // There are never more windows than rows, so an int32 holds every offset.
  const int64_t rows =
      trim ? number : std::min(features.size(0), frames.count * ((height / 2) * (width / 2)));
  Tensor out = empty({rows, channels}, features.scalar_type());
  Tensor out_sites = empty({rows}, ScalarType::Int);
  Tensor argmax = empty({rows, channels}, ScalarType::Int);
  T* to = mutable_data<T>(out);
  int32_t* out_site = mutable_data<int32_t>(out_sites);
  int32_t* from = mutable_data<int32_t>(argmax);
  parallel(frames.count, [&](int64_t f) {
    const int64_t first = frames.offsets[f];
    const int64_t out_first = out_offset[f];
    const int64_t count = out_offset[f + 1] - out_first;
    std::copy_n(window_site + first, count, out_site + out_first);
    kernels.maxima(data<T>(features), channels, window + first * kWindow, count,
                   to + out_first * channels, from + out_first * channels);
  });
  zero_rows(to, number, rows, channels);
  zero_rows(out_site, number, rows, 1);
  std::fill(from + number * channels, from + rows * channels, -1);
  return {out, out_sites, out_offsets, argmax};
}

Pooled sparse_max_pool2d(const Tensor& features, const Tensor& sites, const Tensor& offsets,
                         int64_t height, int64_t width, bool trim) {
  check_features(kOp, features);
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const Tensor site = check_sites(kOp, sites, frames, features.size(0), height, width);
  return with_kernels(features.scalar_type(), [&](const auto& kernels) {
    return pool(kernels, as_contiguous(features), site, frames, height, width, trim);
  });
}

// Windows do not overlap: no two outputs of the forward pass name the same row of a channel.
template <class T>
Tensor pool_backward(const SparseMaxPool2dKernelsOf<T>& kernels, const Tensor& grad_out,
                     const Tensor& argmax, int64_t rows) {
  constexpr int64_t kChunk = 64;
  const int64_t channels = argmax.size(1);
  Tensor grad_in = zeros({rows, channels}, grad_out.scalar_type());
  T* to = mutable_data<T>(grad_in);
  std::atomic<bool> fits{true};
  parallel_chunks(argmax.size(0), kChunk, [&](int64_t begin, int64_t end) {
    if (!kernels.backward(data<T>(grad_out) + begin * channels,
                          data<int32_t>(argmax) + begin * channels, channels, end - begin, rows,
                          to)) {
      fits.store(false);
    }
  });
  MESM_CHECK(fits.load(), kOp, ": argmax must be -1 or a row from 0 to ", rows - 1);
  return grad_in;
}

Tensor sparse_max_pool2d_backward(const Tensor& grad_out, const Tensor& argmax, int64_t rows) {
  check_features(kOp, grad_out);
  MESM_CHECK(argmax.is_cpu() && argmax.dim() == 2 && argmax.scalar_type() == ScalarType::Int &&
                 argmax.size(0) == grad_out.size(0) && argmax.size(1) == grad_out.size(1),
             kOp, ": argmax must be an int32 tensor of grad_out's shape (", grad_out.size(0), ", ",
             grad_out.size(1), ")");
  MESM_CHECK(rows >= 0, kOp, ": rows must not be negative, got ", rows);
  return with_kernels(grad_out.scalar_type(), [&](const auto& kernels) {
    return pool_backward(kernels, as_contiguous(grad_out), as_contiguous(argmax), rows);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("sparse_max_pool2d", TORCH_BOX(&sparse_max_pool2d));
  m.impl("sparse_max_pool2d_backward", TORCH_BOX(&sparse_max_pool2d_backward));
}

STABLE_TORCH_LIBRARY_IMPL(mesm_ops, CPU, m) {
  m.impl("sparse_max_pool2d", TORCH_BOX(&sparse_max_pool2d));
  m.impl("sparse_max_pool2d_backward", TORCH_BOX(&sparse_max_pool2d_backward));
}

}  // namespace mesm_ops
