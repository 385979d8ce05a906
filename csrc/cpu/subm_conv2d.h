// The parts of a submanifold convolution, for the op itself and for the block that fuses the op.
#pragma once

#include <vector>

#include "dispatch.h"
#include "kernels/subm_conv2d.h"
#include "scratch.h"
#include "tensor_checks.h"

MESM_KERNELS(SubmConv2dKernels, subm_conv2d)

namespace mesm_ops {

template <class T>
struct SumsOf {
  using type = T;
};
template <>
struct SumsOf<BFloat16> {
  using type = float;
};
template <class T>
using Sums = typename SumsOf<T>::type;

template <class T>
const SubmConv2dKernelsOf<T, Sums<T>>& convolution_kernels();
template <>
inline const SubmConv2dKernelsOf<float, float>& convolution_kernels<float>() {
  return subm_conv2d_kernels().float32;
}
template <>
inline const SubmConv2dKernelsOf<BFloat16, float>& convolution_kernels<BFloat16>() {
  return *subm_conv2d_kernels().bfloat16;
}
template <>
inline const SubmConv2dKernelsOf<double, double>& convolution_kernels<double>() {
  return subm_conv2d_kernels().float64;
}

// Whether bfloat16 features of such a depth can be multiplied without widening.
inline bool multiplies_bfloat16(int64_t depth) {
  return subm_conv2d_kernels().bfloat16 != nullptr && depth % 2 == 0;
}

// About how many rows a group of frames has. Fixed: sums are formed per group.
constexpr int64_t kGroupRows = 256;

inline std::vector<FrameGroup> group_frames(const Frames& frames) {
  // Groups of equal size: a small last group would load all weights for few rows.
  const int64_t number = std::max<int64_t>(1, (frames.active + kGroupRows / 2) / kGroupRows);
  const int64_t enough = (frames.active + number - 1) / number;
  std::vector<FrameGroup> groups;
  int64_t begin = 0;
  for (int64_t f = 0; f < frames.count; ++f) {
    const int64_t rows = frames.offsets[f + 1] - frames.offsets[begin];
    if (rows < enough && f + 1 < frames.count) continue;
    if (rows > 0) groups.push_back({begin, f + 1, frames.offsets[begin], frames.offsets[f + 1]});
    begin = f + 1;
  }
  return groups;
}

// The pairs of all frames, and the tensor that owns their memory.
struct ActivePairs {
  Tensor owner;
  std::vector<FrameGroup> groups;
  Rulebook book;
  int64_t largest = 0;  // rows of the largest group

  ActivePairs(const Frames& frames, const int32_t* sites, int64_t width)
      : groups(group_frames(frames)) {
    const int64_t rows = frames.active;
    const int64_t group_count = static_cast<int64_t>(groups.size());
    for (const FrameGroup& group : groups) {
      largest = std::max(largest, group.row_end - group.row_begin);
    }
    owner =
        empty({2 * kEarlierTaps * rows + largest + kEarlierTaps * group_count}, ScalarType::Int);
    int32_t* memory = mutable_data<int32_t>(owner);
    book = {rows, memory, memory + kEarlierTaps * rows, memory + 2 * kEarlierTaps * rows,
            memory + 2 * kEarlierTaps * rows + largest};
    for (int64_t i = 0; i < largest; ++i) book.self[i] = static_cast<int32_t>(i);
    parallel(group_count, [&](int64_t g) {
      subm_conv2d_kernels().list_pairs(sites, frames.offsets, width, groups[g], g, book);
    });
  }

  int64_t count() const { return static_cast<int64_t>(groups.size()); }
};

// A weight, in type T or in the type of sums, and how the convolution uses the weight.
struct Weights {
  const Tensor& tensor;
  bool transposed;  // the convolution of the input gradient
  int64_t depth, columns;

  template <class T>
  void pack(int64_t panel, T* to) const {
    const auto& kernels = convolution_kernels<T>();
    if (tensor.scalar_type() == scalar_type_of<T>()) {
      kernels.pack_stored(data<T>(tensor), transposed, depth, columns, panel, to);
    } else {
      kernels.pack(data<Sums<T>>(tensor), transposed, depth, columns, panel, to);
    }
  }
};

// Runs f(group_index, panel, sums) after each group's sums of a panel are formed.
template <class T, class F>
void convolve_groups(const T* x, const Weights& weights, const ActivePairs& pairs, const F& f) {
  const auto& kernels = convolution_kernels<T>();
  const int64_t panels = (weights.columns + kernels.panel - 1) / kernels.panel;
  const int64_t groups = pairs.count();
  const int64_t size = kernels.panel_size(weights.depth);
  const auto run = [&](int64_t g, int64_t panel, const T* packed, bool fetches) {
    const FrameGroup& group = pairs.groups[g];
    Sums<T>* sums = scratch<Sums<T>, kSumsSlot>(pairs.largest * kernels.panel);
    // The next group's rows come from memory while this group's rows are multiplied.
    const bool fetch = fetches && g + 1 < groups;
    const int64_t rows = fetch ? pairs.groups[g + 1].row_end - group.row_end : 0;
    kernels.convolve(x + group.row_begin * weights.depth, weights.depth, packed, weights.columns,
                     pairs.book, group, g, panel, sums, x + group.row_end * weights.depth,
                     rows * weights.depth);
    f(g, panel, sums);
  };
  // Large weights go through the cache once: a panel is packed, then used for all groups.
  constexpr int64_t kCached = 512 * 1024;
  const int64_t threads = static_cast<int64_t>(torch::stable::get_num_threads());
  const bool large = size * panels * static_cast<int64_t>(sizeof(T)) > kCached;
  if (large && (panels % threads == 0 || panels >= 4 * threads)) {
    parallel(panels, [&](int64_t panel) {
      T* packed = scratch<T, kPanelSlot>(size);
      weights.pack(panel, packed);
      for (int64_t g = 0; g < groups; ++g) run(g, panel, packed, true);
    });
    return;
  }
  const Tensor panels_owner = temporary<kWeightSlot>({size * panels}, scalar_type_of<T>());
  T* packed = mutable_data<T>(panels_owner);
  parallel(panels, [&](int64_t panel) { weights.pack(panel, packed + panel * size); });
  parallel(groups * panels, [&](int64_t task) {
    const int64_t g = large ? task % groups : task / panels;
    const int64_t panel = large ? task / groups : task % panels;
    run(g, panel, packed + panel * size, large || panel + 1 == panels);
  });
}

// x (N, depth) convolved at the exact pairs: (N, columns), zero in padding rows.
template <class T>
Tensor convolve(const Tensor& x, const Weights& weights, const Sums<T>* bias,
                const ActivePairs& pairs, Place place = empty) {
  const int64_t columns = weights.columns;
  Tensor out = place({x.size(0), columns}, x.scalar_type());
  T* to = mutable_data<T>(out);
  zero_rows(to, pairs.book.rows, x.size(0), columns);
  convolve_groups(data<T>(x), weights, pairs, [&](int64_t g, int64_t panel, const Sums<T>* sums) {
    const FrameGroup& group = pairs.groups[g];
    convolution_kernels<T>().store(sums, group.row_end - group.row_begin, columns, panel, nullptr,
                                   bias, false, to + group.row_begin * columns);
  });
  return out;
}

// The gradient of a weight (columns, depth, 3, 3), in the type of the sums.
template <class T>
Tensor weight_gradient(const Tensor& x, const Tensor& grad, int64_t columns,
                       const ActivePairs& pairs, Place place = empty) {
  constexpr int64_t kDepth = 24;          // the least depth of a task
  constexpr int64_t kSmall = 640 * 1024;  // bytes up to which each task has sums of its own
  constexpr int64_t kParts = 8;  // fixed, so that a part's sum does not depend on the threads
  const auto& kernels = convolution_kernels<T>();
  constexpr ScalarType dtype = scalar_type_of<Sums<T>>();
  const int64_t depth = x.size(1);
  const int64_t stride = padded_columns(columns);
  const int64_t size = kTaps * depth * stride;
  const int64_t panels = (columns + kernels.panel - 1) / kernels.panel;
  const Tensor padded_grad = sizeof(T) == sizeof(Sums<T>) ? padded(grad) : grad;
  // With small sums, rows come from memory once, and each task has its own sums in the second
  // cache. With large sums, a task takes one tap at a time, for all rows.
  const bool small = size * static_cast<int64_t>(sizeof(Sums<T>)) <= kSmall;
  const int64_t parts = small ? std::clamp<int64_t>(pairs.count() / 2, 1, kParts) : 1;
  const Tensor sums = place({parts, kTaps, depth, stride}, dtype);
  Sums<T>* sum = mutable_data<Sums<T>>(sums);
  // Taps [first_tap, last_tap) of depth [begin, end) from groups [first_g, last_g).
  const auto run = [&](Sums<T>* to, int64_t panel, int64_t first_tap, int64_t last_tap,
                       int64_t begin, int64_t end, int64_t first_g, int64_t last_g) {
    const int64_t first = panel * kernels.panel;
    const int64_t width = std::min(kernels.panel, stride - first);
    for (int64_t tap = first_tap; tap < last_tap; ++tap) {
      for (int64_t d = begin; d < end; ++d) {
        std::fill_n(to + (tap * depth + d) * stride + first, width, Sums<T>(0));
      }
    }
    T* space = scratch<T, kPanelSlot>(kernels.scratch_size(end - begin));
    for (int64_t g = first_g; g < last_g; ++g) {
      const int64_t row = pairs.groups[g].row_begin;
      for (int64_t tap = first_tap; tap < last_tap; ++tap) {
        kernels.weight_gradient(data<T>(x) + row * depth, depth, begin, end,
                                data<T>(padded_grad) + row * padded_grad.size(1), stride, columns,
                                pairs.book, pairs.groups[g], g, tap, panel,
                                to + tap * depth * stride, space);
      }
    }
  };
  if (small) {
    parallel(parts * panels, [&](int64_t task) {
      const int64_t part = task / panels;
      run(sum + part * size, task % panels, 0, kTaps, 0, depth, pairs.count() * part / parts,
          pairs.count() * (part + 1) / parts);
    });
  } else {
    const int64_t wanted = 8 * static_cast<int64_t>(torch::stable::get_num_threads());
    const int64_t splits = std::clamp<int64_t>(wanted / std::max<int64_t>(panels * kTaps, 1), 1,
                                               std::max<int64_t>(depth / kDepth, 1));
    parallel(panels * kTaps * splits, [&](int64_t task) {
      const int64_t tap = task / splits % kTaps;
      const int64_t split = task % splits;
      run(sum, task / splits / kTaps, tap, tap + 1, depth * split / splits,
          depth * (split + 1) / splits, 0, pairs.count());
    });
  }
  Tensor out = empty({columns, depth, 3, 3}, dtype);
  parallel_chunks(columns, 16, [&](int64_t begin, int64_t end) {
    kernels.unpack(sum, parts, stride, depth, begin, end, mutable_data<Sums<T>>(out));
  });
  return out;
}

}  // namespace mesm_ops
