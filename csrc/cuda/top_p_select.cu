// top_p_select on CUDA: three launches forward, one backward; one block a frame except in the
// second launch, which sums up how many rows the frames keep.
//
// Outputs are sized from shapes alone and nothing is copied to the host, so that a CUDA graph can
// capture the op.
#include <tuple>

#include "launch.cuh"
#include "top_p_select.cuh"

namespace mesm_ops {
namespace {

constexpr const char* kOp = "top_p_select";
constexpr int kSumThreads = 1024;

__global__ void __launch_bounds__(kThreads, 4) select(const __grid_constant__ TopPSelect op) {
  __shared__ TopPSelectShared shared;
  select_frame(op, blockIdx.x, shared);
}

__global__ void __launch_bounds__(kSumThreads)
    sum_up_kept(const int32_t* numbers, int64_t frames, int64_t rows, int32_t* out_offsets) {
  __shared__ alignas(16) char shared[Exchange::kBytes];
  Exchange exchange{shared};
  write_offsets(numbers, frames, rows, out_offsets, exchange);
}

template <class P>
__global__ void __launch_bounds__(kThreads, 4) gather(const __grid_constant__ TopPGather<P> op) {
  gather_frame(op, blockIdx.x);
}

template <class P>
__global__ void __launch_bounds__(kThreads, 4)
    select_backward(const __grid_constant__ TopPSelectBackward<P> op) {
  __shared__ TopPSelectBackwardShared shared;
  select_frame_backward(op, blockIdx.x, shared);
}

void check_float32(const char* name, const Tensor& t, const Tensor& features) {
  MESM_CHECK(is_beside(t, features) && t.scalar_type() == ScalarType::Float &&
                 t.numel() == features.size(0),
             kOp, ": ", name, " must be ", features.size(0),
             " float32 elements on the features' device, got ", t.numel());
}

using Selected = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Selected top_p_select(const Tensor& features_in, const Tensor& sites_in, const Tensor& offsets_in,
                      const Tensor& logits_in, double p, bool scales, bool /*learns*/, bool trim) {
  MESM_CHECK(!trim, kOp, ": trim waits for the device and is for the CPU only");
  MESM_CHECK(p > 0, kOp, ": p must be in (0, 1], got ", p);
  check_features(kOp, features_in);
  const int64_t rows = features_in.size(0);
  const int64_t channels = features_in.size(1);
  check_int32(kOp, "sites", sites_in, features_in);
  check_int32(kOp, "offsets", offsets_in, features_in);
  check_float32("logits", logits_in, features_in);
  MESM_CHECK(sites_in.numel() == rows, kOp, ": sites must have ", rows, " elements, got ",
             sites_in.numel());
  const unsigned blocks = blocks_for_frames(kOp, offsets_in);
  const int64_t frames = offsets_in.numel() - 1;
  const torch::stable::accelerator::DeviceGuard guard(features_in.get_device_index());
  const Tensor features = torch::stable::contiguous(features_in);
  const Tensor sites = torch::stable::contiguous(sites_in);
  const Tensor offsets = torch::stable::contiguous(offsets_in);
  const Tensor logits = torch::stable::contiguous(logits_in);
  const cudaStream_t stream = current_stream(features);

  Tensor out = empty(features, {rows, channels}, features.scalar_type());
  Tensor out_sites = empty(features, {rows}, ScalarType::Int);
  Tensor out_offsets = empty(features, {frames + 1}, ScalarType::Int);
  Tensor out_rows = empty(features, {rows}, ScalarType::Int);
  Tensor attention = empty(features, {rows}, ScalarType::Float);
  Tensor kept = empty(features, {rows}, ScalarType::Int);
  Tensor numbers = empty(features, {frames}, ScalarType::Int);
  const TopPSelect selection{data<int32_t>(offsets),
                             data<float>(logits),
                             p,
                             frames,
                             rows,
                             mutable_data<float>(attention),
                             mutable_data<int32_t>(kept),
                             mutable_data<int32_t>(numbers)};
  const int threads = kLanes * warps_for(frames > 0 ? rows / frames : 0, kThreads / kLanes);
  select<<<blocks, threads, 0, stream>>>(selection);
  check_launch(kOp, "select");
  sum_up_kept<<<1, kSumThreads, 0, stream>>>(data<int32_t>(numbers), frames, rows,
                                             mutable_data<int32_t>(out_offsets));
  check_launch(kOp, "sum_up_kept");
  const void* from = features.const_data_ptr();
  void* to = out.mutable_data_ptr();
  with_pack(kOp, features.scalar_type(), channels, {from, to}, [&](auto pack) {
    using P = decltype(pack);
    const TopPGather<P> op{static_cast<const P*>(from),
                           data<int32_t>(sites),
                           data<int32_t>(offsets),
                           data<float>(attention),
                           data<int32_t>(kept),
                           scales,
                           frames,
                           rows,
                           static_cast<int32_t>(channels / P::kSize),
                           static_cast<P*>(to),
                           mutable_data<int32_t>(out_sites),
                           data<int32_t>(out_offsets),
                           mutable_data<int32_t>(out_rows)};
    gather<<<blocks, kThreads, 0, stream>>>(op);
  });
  check_launch(kOp, "gather");
  return {out, out_sites, out_offsets, out_rows, attention};
}

std::tuple<Tensor, Tensor> top_p_select_backward(const Tensor& grad_in, const Tensor& features_in,
                                                 const Tensor& offsets_in,
                                                 const Tensor& out_offsets_in,
                                                 const Tensor& rows_in, const Tensor& attention_in,
                                                 bool scales, bool learns) {
  check_features(kOp, features_in);
  const int64_t rows = features_in.size(0);
  const int64_t channels = features_in.size(1);
  check_int32(kOp, "offsets", offsets_in, features_in);
  check_int32(kOp, "out_offsets", out_offsets_in, features_in);
  check_int32(kOp, "rows", rows_in, features_in);
  check_float32("attention", attention_in, features_in);
  MESM_CHECK(is_beside(grad_in, features_in) && grad_in.dim() == 2 &&
                 grad_in.scalar_type() == features_in.scalar_type() &&
                 grad_in.size(0) == rows_in.numel() && grad_in.size(1) == channels,
             kOp, ": grad_out must be (", rows_in.numel(), ", ", channels,
             ") of the features' dtype and device");
  MESM_CHECK(out_offsets_in.numel() == offsets_in.numel(), kOp, ": out_offsets must have ",
             offsets_in.numel(), " elements, got ", out_offsets_in.numel());
  const unsigned blocks = blocks_for_frames(kOp, offsets_in);
  const torch::stable::accelerator::DeviceGuard guard(features_in.get_device_index());
  const Tensor grad_out = torch::stable::contiguous(grad_in);
  const Tensor features = torch::stable::contiguous(features_in);
  const Tensor offsets = torch::stable::contiguous(offsets_in);
  const Tensor out_offsets = torch::stable::contiguous(out_offsets_in);
  const Tensor kept_rows = torch::stable::contiguous(rows_in);
  const Tensor attention = torch::stable::contiguous(attention_in);
  Tensor grad_features = empty(features, {rows, channels}, features.scalar_type());
  Tensor grad_logits = empty(features, {rows}, ScalarType::Float);
  const void* grad = grad_out.const_data_ptr();
  const void* from = features.const_data_ptr();
  void* to = grad_features.mutable_data_ptr();
  with_pack(kOp, features.scalar_type(), channels, {grad, from, to}, [&](auto pack) {
    using P = decltype(pack);
    const TopPSelectBackward<P> op{static_cast<const P*>(grad),
                                   static_cast<const P*>(from),
                                   data<int32_t>(offsets),
                                   data<int32_t>(out_offsets),
                                   data<int32_t>(kept_rows),
                                   data<float>(attention),
                                   scales,
                                   learns,
                                   offsets.numel() - 1,
                                   rows,
                                   kept_rows.numel(),
                                   static_cast<int32_t>(channels / P::kSize),
                                   static_cast<P*>(to),
                                   mutable_data<float>(grad_logits)};
    select_backward<<<blocks, kThreads, 0, current_stream(features)>>>(op);
  });
  check_launch(kOp, "backward");
  return {grad_features, grad_logits};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cuda, CUDA, m) {
  m.impl("top_p_select", TORCH_BOX(&top_p_select));
  m.impl("top_p_select_backward", TORCH_BOX(&top_p_select_backward));
}

}  // namespace mesm_ops
