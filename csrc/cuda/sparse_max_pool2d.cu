// sparse_max_pool2d on CUDA: one launch forward, one block per frame; a memset and one launch back.
//
// Outputs are sized from shapes alone and nothing is copied to the host, so that a CUDA graph can
// capture the op. Only the look-back uses atomics.
#include <tuple>

#include "launch.cuh"
#include "sparse_max_pool2d.cuh"

namespace mesm_ops {
namespace {

constexpr const char* kOp = "sparse_max_pool2d";

template <class P>
__global__ void __launch_bounds__(kThreads, 4) pool(const __grid_constant__ SparseMaxPool2d<P> op) {
  __shared__ SparseMaxPool2dShared shared;
  pool_frame(op, shared);
}

template <class P>
__global__ void __launch_bounds__(kThreads)
    scatter(const __grid_constant__ SparseMaxPool2dBackward<P> op) {
  scatter_gradient(op, blockIdx.x, gridDim.x);
}

using Pooled = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Pooled sparse_max_pool2d(const Tensor& features_in, const Tensor& sites_in,
                         const Tensor& offsets_in, int64_t height, int64_t width, bool trim) {
  MESM_CHECK(!trim, kOp, ": trim waits for the device and is for the CPU only");
  check_features(kOp, features_in);
  check_int32(kOp, "sites", sites_in, features_in);
  check_int32(kOp, "offsets", offsets_in, features_in);
  const int64_t rows = features_in.size(0);
  const int64_t channels = features_in.size(1);
  MESM_CHECK(sites_in.numel() == rows, kOp, ": sites must have ", rows, " elements, got ",
             sites_in.numel());
  MESM_CHECK(height >= 0 && width >= 0 && height <= INT32_MAX && width <= INT32_MAX &&
                 height * width <= INT32_MAX,
             kOp, ": height * width must be from 0 to 2^31 - 1");
  const unsigned blocks = blocks_for_frames(kOp, offsets_in);
  const int64_t frames = offsets_in.numel() - 1;
  const torch::stable::accelerator::DeviceGuard guard(features_in.get_device_index());
  const Tensor features = torch::stable::contiguous(features_in);
  const Tensor sites = torch::stable::contiguous(sites_in);
  const Tensor offsets = torch::stable::contiguous(offsets_in);
  const cudaStream_t stream = current_stream(features);

  const int64_t windows = (height / 2) * (width / 2);
  const int64_t out_rows = std::min(rows, frames * windows);
  Tensor out = empty(features, {out_rows, channels}, features.scalar_type());
  Tensor out_sites = empty(features, {out_rows}, ScalarType::Int);
  Tensor out_offsets = empty(features, {frames + 1}, ScalarType::Int);
  Tensor argmax = empty(features, {out_rows, channels}, ScalarType::Int);
  const int64_t in_tables = windows > kSharedWindows ? frames * windows : 0;
  Tensor tables = empty(features, {in_tables, kWindow}, ScalarType::Int);
  Tensor words = empty(features, {frames + 1}, ScalarType::Long);
  clear(words, stream);
  const void* from = features.const_data_ptr();
  void* to = out.mutable_data_ptr();
  with_pack(kOp, features.scalar_type(), channels, {from, to}, [&](auto pack) {
    using P = decltype(pack);
    const SparseMaxPool2d<P> op{
        static_cast<const P*>(from),
        data<int32_t>(sites),
        data<int32_t>(offsets),
        frames,
        rows,
        out_rows,
        static_cast<int32_t>(height),
        static_cast<int32_t>(width),
        static_cast<int32_t>(channels / P::kSize),
        static_cast<P*>(to),
        mutable_data<int32_t>(out_sites),
        mutable_data<int32_t>(out_offsets),
        static_cast<typename SparseMaxPool2d<P>::Rows*>(argmax.mutable_data_ptr()),
        static_cast<Window*>(tables.mutable_data_ptr()),
        {mutable_data<uint64_t>(words)}};
    pool<<<blocks, kThreads, 0, stream>>>(op);
  });
  check_launch(kOp, "forward");
  return {out, out_sites, out_offsets, argmax};
}

Tensor sparse_max_pool2d_backward(const Tensor& grad_in, const Tensor& argmax_in, int64_t rows) {
  check_features(kOp, grad_in);
  check_int32(kOp, "argmax", argmax_in, grad_in);
  MESM_CHECK(argmax_in.dim() == 2 && argmax_in.size(0) == grad_in.size(0) &&
                 argmax_in.size(1) == grad_in.size(1) && rows >= 0,
             kOp, ": argmax must have grad_out's shape, and rows must not be negative");
  const torch::stable::accelerator::DeviceGuard guard(grad_in.get_device_index());
  const Tensor grad_out = torch::stable::contiguous(grad_in);
  const Tensor argmax = torch::stable::contiguous(argmax_in);
  const cudaStream_t stream = current_stream(grad_out);
  const int64_t channels = grad_out.size(1);
  Tensor out = empty(grad_out, {rows, channels}, grad_out.scalar_type());
  clear(out, stream);
  const void* from = grad_out.const_data_ptr();
  const void* sources = argmax.const_data_ptr();
  with_pack(kOp, grad_out.scalar_type(), channels, {from, sources}, [&](auto pack) {
    using P = decltype(pack);
    const SparseMaxPool2dBackward<P> op{
        static_cast<const P*>(from),
        static_cast<const typename SparseMaxPool2dBackward<P>::Rows*>(sources),
        grad_out.size(0),
        rows,
        static_cast<int32_t>(channels / P::kSize),
        static_cast<typename P::Element*>(out.mutable_data_ptr())};
    constexpr int64_t kPacks =
        4 * kThreads;  // a block's share, unless there would be too many blocks
    const int64_t blocks = (grad_out.size(0) * op.packs + kPacks - 1) / kPacks;
    scatter<<<blocks_for(blocks), kThreads, 0, stream>>>(op);
  });
  check_launch(kOp, "backward");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cuda, CUDA, m) {
  m.impl("sparse_max_pool2d", TORCH_BOX(&sparse_max_pool2d));
  m.impl("sparse_max_pool2d_backward", TORCH_BOX(&sparse_max_pool2d_backward));
}

}  // namespace mesm_ops
