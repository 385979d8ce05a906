// The selection of a nucleus, for the op itself and for the block that fuses the op.
#pragma once

#include <vector>

#include "dispatch.h"
#include "kernels/top_p_select.h"
#include "scratch.h"
#include "tensor_checks.h"

MESM_KERNELS(TopPSelectKernels, top_p_select)

namespace mesm_ops {

template <class A>
const TopPSelectionKernelsOf<A>& selection_kernels();
template <>
inline const TopPSelectionKernelsOf<float>& selection_kernels<float>() {
  return top_p_select_kernels().attention32;
}
template <>
inline const TopPSelectionKernelsOf<double>& selection_kernels<double>() {
  return top_p_select_kernels().attention64;
}

template <class T>
const auto& row_kernels() {
  return kernels_for<T>(top_p_select_kernels());
}

struct Selection {
  Tensor attention;    // (N,), 0 in padding rows
  Tensor sites, rows;  // (N_out,) the kept sites and their input rows; 0 and -1 in padding rows
  Tensor offsets;      // (F + 1,)
  int64_t number;      // kept rows
};

// Keeps each frame's nucleus; with `trim` without padding rows, else in as many rows as the input.
template <class A>
Selection select_sites(const TopPSelectionKernelsOf<A>& kernels, const Tensor& logits,
                       const Tensor& sites, const Frames& frames, double p, bool trim) {
  const int64_t rows = logits.numel();
  Selection out{zeros({rows}, logits.scalar_type()), {}, {}, {}, 0};
  A* attention = mutable_data<A>(out.attention);

  // Each frame's kept candidates, counted from the frame's first, stored where its rows begin.
  std::vector<int32_t> kept(frames.active);
  out.offsets = empty({frames.count + 1}, ScalarType::Int);
  int32_t* offset = mutable_data<int32_t>(out.offsets);
  offset[0] = 0;
  parallel_chunks(frames.count, 8, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> scratch;
    for (int64_t f = begin; f < end; ++f) {
      const int64_t first = frames.offsets[f];
      const int64_t count = frames.offsets[f + 1] - first;
      if (static_cast<int64_t>(scratch.size()) < 4 * count) scratch.resize(4 * count);
      offset[f + 1] =
          static_cast<int32_t>(kernels.nucleus(data<A>(logits) + first, count, p, attention + first,
                                               kept.data() + first, scratch.data()));
    }
  });
  for (int64_t f = 0; f < frames.count; ++f) offset[f + 1] += offset[f];

  out.number = offset[frames.count];
  const int64_t out_rows = trim ? out.number : rows;
  out.sites = empty({out_rows}, ScalarType::Int);
  out.rows = empty({out_rows}, ScalarType::Int);
  int32_t* site = mutable_data<int32_t>(out.sites);
  int32_t* row = mutable_data<int32_t>(out.rows);
  parallel_chunks(frames.count, 8, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      const int64_t first = frames.offsets[f];
      for (int64_t i = offset[f]; i < offset[f + 1]; ++i) {
        row[i] = static_cast<int32_t>(first + kept[first + i - offset[f]]);
        site[i] = data<int32_t>(sites)[row[i]];
      }
    }
  });
  zero_rows(site, out.number, out_rows, 1);
  std::fill(row + out.number, row + out_rows, -1);
  return out;
}

// The kept rows of the features, scaled by candidates * attention if `scales`: (N_out, C).
template <class T, class A>
Tensor gather_kept(const TopPRowKernelsOf<T, A>& kernels, const Tensor& features,
                   const Tensor& attention, const Tensor& rows, const Frames& frames,
                   const Frames& kept, bool scales, Place place = empty) {
  const int64_t channels = features.size(1);
  Tensor out = place({rows.numel(), channels}, features.scalar_type());
  T* to = mutable_data<T>(out);
  parallel_chunks(frames.count, 4, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      const int64_t first = kept.offsets[f];
      kernels.gather(data<T>(features), channels, data<int32_t>(rows) + first,
                     kept.offsets[f + 1] - first, scales ? data<A>(attention) : nullptr,
                     frames.offsets[f + 1] - frames.offsets[f], to + first * channels);
    }
  });
  zero_rows(to, kept.active, rows.numel(), channels);
  return out;
}

// Writes the gradients of one frame's features and logits, for the kept rows first to last.
template <class T, class A>
void scatter_frame(const TopPSelectionKernelsOf<A>& selection, const TopPRowKernelsOf<T, A>& by_row,
                   const T* grad_out, const T* features, const int32_t* rows, const A* attention,
                   const Frames& frames, const Frames& kept, int64_t frame, int64_t channels,
                   bool scales, bool learns, T* grad_features, A* moments, A* grad_logits) {
  const int64_t first = frames.offsets[frame];
  const int64_t count = frames.offsets[frame + 1] - first;
  const int64_t out_first = kept.offsets[frame];
  by_row.scatter(grad_out + out_first * channels, channels, rows + out_first,
                 kept.offsets[frame + 1] - out_first, scales ? attention : nullptr, count, features,
                 grad_features, learns ? moments : nullptr);
  if (!learns) return;
  (scales ? selection.softmax_backward : selection.log_softmax_backward)(
      attention + first, moments + first, count, grad_logits + first);
}

// Every kept row must be a candidate of its frame, or its gradient would be written outside.
inline void check_rows(const char* op, const Tensor& rows, const Frames& frames,
                       const Frames& kept) {
  MESM_CHECK(kept.count == frames.count, op, ": out_offsets must be of ", frames.count,
             " frames, got ", kept.count);
  for (int64_t f = 0; f < frames.count; ++f) {
    for (int64_t i = kept.offsets[f]; i < kept.offsets[f + 1]; ++i) {
      const int64_t row = data<int32_t>(rows)[i];
      MESM_CHECK(row >= frames.offsets[f] && row < frames.offsets[f + 1], op,
                 ": rows must be those of top_p_select, got ", row, " in frame ", f);
    }
  }
}

}  // namespace mesm_ops
