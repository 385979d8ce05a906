#include "../cpu/top_p_select.h"

#include <tuple>

#include "dispatch.h"
#include "tensor_checks.h"

MESM_KERNELS(TopPSelectKernels, top_p_select)

namespace mesm_ops {
namespace {

constexpr const char* kOp = "top_p_select";

// Calls f(selection kernels, row kernels) of the features' dtype.
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
                const Frames& frames, double p, bool weighted, bool trim) {
  const int64_t rows = features.size(0);
  const int64_t channels = features.size(1);
  Tensor attention = zeros({rows}, logits.scalar_type());
  A* weight = mutable_data<A>(attention);
  const A* logit = data<A>(logits);

  // Each frame's kept candidates, counted from its own first, where its rows begin.
  std::vector<int32_t> kept(frames.active);
  Tensor out_offsets = empty({frames.count + 1}, ScalarType::Int);
  int32_t* out_offset = mutable_data<int32_t>(out_offsets);
  out_offset[0] = 0;
  parallel_chunks(frames.count, 8, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> scratch;
    for (int64_t f = begin; f < end; ++f) {
      const int64_t first = frames.offsets[f];
      const int64_t count = frames.offsets[f + 1] - first;
      if (static_cast<int64_t>(scratch.size()) < 4 * count) scratch.resize(4 * count);
      out_offset[f + 1] = static_cast<int32_t>(selection.nucleus(
          logit + first, count, p, weight + first, kept.data() + first, scratch.data()));
    }
  });
  for (int64_t f = 0; f < frames.count; ++f) out_offset[f + 1] += out_offset[f];

  const int64_t number = out_offset[frames.count];
  const int64_t out_rows = trim ? number : rows;
  Tensor out = empty({out_rows, channels}, features.scalar_type());
  Tensor out_sites = empty({out_rows}, ScalarType::Int);
  Tensor source = empty({out_rows}, ScalarType::Int);
  T* to = mutable_data<T>(out);
  int32_t* site = mutable_data<int32_t>(out_sites);
  int32_t* row = mutable_data<int32_t>(source);
  parallel(frames.count, [&](int64_t f) {
    const int64_t first = frames.offsets[f];
    for (int64_t i = out_offset[f]; i < out_offset[f + 1]; ++i) {
      row[i] = static_cast<int32_t>(first + kept[first + i - out_offset[f]]);
      site[i] = data<int32_t>(sites)[row[i]];
    }
    by_row.gather(data<T>(features), channels, row + out_offset[f],
                  out_offset[f + 1] - out_offset[f], weighted ? weight : nullptr,
                  frames.offsets[f + 1] - first, to + out_offset[f] * channels);
  });
  zero_rows(to, number, out_rows, channels);
  zero_rows(site, number, out_rows, 1);
  std::fill(row + number, row + out_rows, -1);
  return {out, out_sites, out_offsets, source, attention};
}

Selected top_p_select(const Tensor& features, const Tensor& sites, const Tensor& offsets,
                      const Tensor& logits, double p, bool weighted, bool trim) {
  check_features(kOp, features);
  const int64_t rows = features.size(0);
  const ScalarType dtype = features.scalar_type();
  check_operand(kOp, "logits", logits, rows, compute_dtype(dtype));
  check_int32(kOp, "sites", sites);
  STD_TORCH_CHECK(sites.numel() == rows, kOp, ": sites must have ", rows,
                  " elements, one per row of features, got ", sites.numel());
  STD_TORCH_CHECK(p > 0, kOp, ": p must be in (0, 1], got ", p);
  const Frames frames = check_offsets(kOp, offsets, rows);
  return with_kernels(dtype, [&](const auto& selection, const auto& by_row) {
    return select(selection, by_row, as_contiguous(features), as_contiguous(sites),
                  as_contiguous(logits), frames, p, weighted, trim);
  });
}

template <class T, class A>
std::tuple<Tensor, Tensor> select_backward(const TopPSelectionKernelsOf<A>& selection,
                                           const TopPRowKernelsOf<T, A>& by_row,
                                           const Tensor& grad_out, const Tensor& features,
                                           const Tensor& rows, const Tensor& attention,
                                           const Frames& frames, const Frames& out_frames,
                                           bool weighted) {
  const int64_t channels = features.size(1);
  Tensor grad_features = zeros({features.size(0), channels}, features.scalar_type());
  Tensor grad_attention = zeros({features.size(0)}, attention.scalar_type());
  Tensor grad_logits = zeros({features.size(0)}, attention.scalar_type());
  A* moment = mutable_data<A>(grad_attention);
  parallel(frames.count, [&](int64_t f) {
    const int64_t first = frames.offsets[f];
    const int64_t count = frames.offsets[f + 1] - first;
    const int64_t out_first = out_frames.offsets[f];
    by_row.scatter(data<T>(grad_out) + out_first * channels, channels,
                   data<int32_t>(rows) + out_first, out_frames.offsets[f + 1] - out_first,
                   weighted ? data<A>(attention) : nullptr, count, data<T>(features),
                   mutable_data<T>(grad_features), moment);
    if (!weighted) return;
    selection.softmax_backward(data<A>(attention) + first, moment + first, count,
                               mutable_data<A>(grad_logits) + first);
  });
  return {grad_features, grad_logits};
}

// Every kept row must be one of its frame's candidates, or it would be written outside.
void check_rows(const Tensor& rows, const Frames& frames, const Frames& out_frames) {
  STD_TORCH_CHECK(out_frames.count == frames.count, kOp, ": out_offsets must be of ", frames.count,
                  " frames, got ", out_frames.count);
  for (int64_t f = 0; f < frames.count; ++f) {
    for (int64_t i = out_frames.offsets[f]; i < out_frames.offsets[f + 1]; ++i) {
      const int64_t row = data<int32_t>(rows)[i];
      STD_TORCH_CHECK(row >= frames.offsets[f] && row < frames.offsets[f + 1], kOp,
                      ": rows must be those of top_p_select, got ", row, " in frame ", f);
    }
  }
}

std::tuple<Tensor, Tensor> top_p_select_backward(const Tensor& grad_out, const Tensor& features,
                                                 const Tensor& offsets, const Tensor& out_offsets,
                                                 const Tensor& rows, const Tensor& attention,
                                                 bool weighted) {
  check_features(kOp, features);
  const ScalarType dtype = features.scalar_type();
  check_int32(kOp, "rows", rows);
  check_operand(kOp, "grad_out", grad_out, rows.numel() * features.size(1), dtype);
  check_operand(kOp, "attention", attention, features.size(0), compute_dtype(dtype));
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const Frames out_frames = check_offsets(kOp, out_offsets, rows.numel());
  const Tensor row = as_contiguous(rows);
  check_rows(row, frames, out_frames);
  return with_kernels(dtype, [&](const auto& selection, const auto& by_row) {
    return select_backward(selection, by_row, as_contiguous(grad_out), as_contiguous(features), row,
                           as_contiguous(attention), frames, out_frames, weighted);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("top_p_select", TORCH_BOX(&top_p_select));
  m.impl("top_p_select_backward", TORCH_BOX(&top_p_select_backward));
}

}  // namespace mesm_ops
