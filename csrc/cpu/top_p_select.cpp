#include "top_p_select.h"

#include <tuple>

#include "registration.h"
#include "tensor_checks.h"

namespace mesm_ops {
namespace {

constexpr const char* kOp = "top_p_select";

// Calls f with the selection kernels and the row kernels of the features' dtype.
template <class F>
auto with_kernels(ScalarType dtype, const F& f) {
  const TopPSelectKernels& kernels = top_p_select_kernels();
  if (dtype == ScalarType::Double) return f(kernels.attention64, kernels.float64);
  if (dtype == ScalarType::BFloat16) return f(kernels.attention32, kernels.bfloat16);
  return f(kernels.attention32, kernels.float32);
}

using Selected = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

template <class T, class A>
Selected select(const TopPSelectionKernelsOf<A>& selection, const TopPRowKernelsOf<T, A>& by_row,
                const Tensor& features, const Tensor& sites, const Tensor& logits,
                const Frames& frames, double p, bool scales, bool trim) {
  const Selection kept = select_sites(selection, logits, sites, frames, p, trim);
  const Frames kept_frames = check_offsets(kOp, kept.offsets, kept.rows.numel());
  const Tensor out =
      gather_kept(by_row, features, kept.attention, kept.rows, frames, kept_frames, scales);
  return {out, kept.sites, kept.offsets, kept.rows, kept.attention};
}

Selected top_p_select(const Tensor& features, const Tensor& sites, const Tensor& offsets,
                      const Tensor& logits, double p, bool scales, bool /*learns*/, bool trim) {
  check_features(kOp, features);
  const int64_t rows = features.size(0);
  const ScalarType dtype = features.scalar_type();
  check_operand(kOp, "logits", logits, rows, compute_dtype(dtype));
  check_int32(kOp, "sites", sites);
  MESM_CHECK(sites.numel() == rows, kOp, ": sites must have ", rows,
             " elements, one per row of features, got ", sites.numel());
  MESM_CHECK(p > 0, kOp, ": p must be in (0, 1], got ", p);
  const Frames frames = check_offsets(kOp, offsets, rows);
  return with_kernels(dtype, [&](const auto& selection, const auto& by_row) {
    return select(selection, by_row, as_contiguous(features), as_contiguous(sites),
                  as_contiguous(logits), frames, p, scales, trim);
  });
}

template <class T, class A>
std::tuple<Tensor, Tensor> select_backward(const TopPSelectionKernelsOf<A>& selection,
                                           const TopPRowKernelsOf<T, A>& by_row,
                                           const Tensor& grad_out, const Tensor& features,
                                           const Tensor& rows, const Tensor& attention,
                                           const Frames& frames, const Frames& out_frames,
                                           bool scales, bool learns) {
  const int64_t channels = features.size(1);
  Tensor grad_features = zeros({features.size(0), channels}, features.scalar_type());
  Tensor grad_attention = zeros({features.size(0)}, attention.scalar_type());
  Tensor grad_logits = zeros({features.size(0)}, attention.scalar_type());
  A* moment = mutable_data<A>(grad_attention);
  parallel(frames.count, [&](int64_t f) {
    scatter_frame(selection, by_row, data<T>(grad_out), data<T>(features), data<int32_t>(rows),
                  data<A>(attention), frames, out_frames, f, channels, scales, learns,
                  mutable_data<T>(grad_features), moment, mutable_data<A>(grad_logits));
  });
  return {grad_features, grad_logits};
}

std::tuple<Tensor, Tensor> top_p_select_backward(const Tensor& grad_out, const Tensor& features,
                                                 const Tensor& offsets, const Tensor& out_offsets,
                                                 const Tensor& rows, const Tensor& attention,
                                                 bool scales, bool learns) {
  check_features(kOp, features);
  const ScalarType dtype = features.scalar_type();
  check_int32(kOp, "rows", rows);
  check_operand(kOp, "grad_out", grad_out, rows.numel() * features.size(1), dtype);
  check_operand(kOp, "attention", attention, features.size(0), compute_dtype(dtype));
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const Frames out_frames = check_offsets(kOp, out_offsets, rows.numel());
  const Tensor row = as_contiguous(rows);
  check_rows(kOp, row, frames, out_frames);
  return with_kernels(dtype, [&](const auto& selection, const auto& by_row) {
    return select_backward(selection, by_row, as_contiguous(grad_out), as_contiguous(features), row,
                           as_contiguous(attention), frames, out_frames, scales, learns);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("top_p_select", TORCH_BOX(&top_p_select));
  m.impl("top_p_select_backward", TORCH_BOX(&top_p_select_backward));
}

STABLE_TORCH_LIBRARY_IMPL(mesm_ops, CPU, m) {
  m.impl("top_p_select",
         with_selection<TORCH_BOX(&top_p_select), position_of("top_p_select", "int selection")>);
  m.impl("top_p_select_backward",
         with_selection<TORCH_BOX(&top_p_select_backward),
                        position_of("top_p_select_backward", "int selection")>);
}

}  // namespace mesm_ops
