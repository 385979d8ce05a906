#include "../cpu/subm_conv2d.h"

#include <tuple>

#include "dispatch.h"
#include "tensor_checks.h"

MESM_KERNELS(SubmConv2dKernels, subm_conv2d)

namespace mesm_ops {
namespace {

constexpr const char* kOp = "subm_conv2d";

template <class T>
const SubmConv2dKernelsOf<T>& kernels_of();
template <>
const SubmConv2dKernelsOf<float>& kernels_of<float>() {
  return subm_conv2d_kernels().float32;
}
template <>
const SubmConv2dKernelsOf<double>& kernels_of<double>() {
  return subm_conv2d_kernels().float64;
}

// Frames taken together until they have this many rows. Fixed: the weight gradient sums per group.
constexpr int64_t kGroupRows = 256;

std::vector<FrameGroup> group_frames(const Frames& frames) {
  std::vector<FrameGroup> groups;
  int64_t begin = 0;
  for (int64_t f = 0; f < frames.count; ++f) {
    const int64_t rows = frames.offsets[f + 1] - frames.offsets[begin];
    if (rows < kGroupRows && f + 1 < frames.count) continue;
    if (rows > 0) groups.push_back({begin, f + 1, frames.offsets[begin], frames.offsets[f + 1]});
    begin = f + 1;
  }
  return groups;
}

// The pairs of all frames, and the memory they lie in.
struct Pairs {
  Tensor held;
  std::vector<FrameGroup> groups;
  Rulebook book;

  Pairs(const Frames& frames, const int32_t* sites, int64_t width) : groups(group_frames(frames)) {
    const int64_t rows = frames.active;
    const int64_t group_count = static_cast<int64_t>(groups.size());
    held = empty({(2 * kEarlier + 1) * rows + kEarlier * group_count}, ScalarType::Int);
    int32_t* memory = mutable_data<int32_t>(held);
    book = {rows, memory, memory + kEarlier * rows, memory + 2 * kEarlier * rows,
            memory + (2 * kEarlier + 1) * rows};
    parallel(group_count, [&](int64_t g) {
      subm_conv2d_kernels().list_pairs(sites, frames.offsets, width, groups[g], g, book);
    });
  }
};

template <class T>
Tensor packed_weight(const T* weight, int64_t column_stride, int64_t depth_stride, bool flip,
                     int64_t depth, int64_t columns, ScalarType dtype) {
  const auto& kernels = kernels_of<T>();
  Tensor packed = empty({kernels.packed_size(depth, columns)}, dtype);
  T* to = mutable_data<T>(packed);
  parallel(kernels.panels(columns), [&](int64_t panel) {
    kernels.pack(weight, column_stride, depth_stride, flip, depth, columns, panel, to);
  });
  return packed;
}

// x (N, depth) times packed weights at the exact pairs: (N, columns), zero in padding rows.
template <class T>
Tensor convolve(const Tensor& x, const Tensor& packed, const Tensor* bias, int64_t columns,
                const Pairs& pairs) {
  const auto& kernels = kernels_of<T>();
  const int64_t depth = x.size(1);
  const int64_t stride = padded_columns(columns);
  Tensor out = empty({x.size(0), stride}, x.scalar_type());
  std::vector<T> start;
  if (bias != nullptr) {
    start.assign(stride, T(0));
    std::copy_n(data<T>(*bias), columns, start.begin());
  }
  const T* from = data<T>(x);
  const T* weight = data<T>(packed);
  T* to = mutable_data<T>(out);
  zero_rows(to, pairs.book.rows, x.size(0), stride);
  // Groups first; panels are shared out too where there are too few groups to keep threads busy.
  const int64_t panels = kernels.panels(columns);
  const int64_t groups = static_cast<int64_t>(pairs.groups.size());
  const int64_t wanted = 8 * static_cast<int64_t>(torch::stable::get_num_threads());
  const int64_t splits = groups == 0 ? 1
                                     : std::clamp<int64_t>((wanted + groups - 1) / groups, 1,
                                                           std::max<int64_t>(panels, 1));
  parallel(groups * splits, [&](int64_t task) {
    const int64_t g = task / splits;
    const int64_t split = task % splits;
    kernels.forward(from, depth, weight, start.empty() ? nullptr : start.data(), columns,
                    pairs.book, pairs.groups[g], g, panels * split / splits,
                    panels * (split + 1) / splits, to, stride);
  });
  return unpadded(out, columns);
}

template <class T>
Tensor weight_gradient(const Tensor& x, const Tensor& grad, int64_t columns, const Pairs& pairs) {
  const auto& kernels = kernels_of<T>();
  const int64_t depth = x.size(1);
  const int64_t stride = padded_columns(columns);
  const Tensor held = padded(grad);
  Tensor sums = zeros({kOffsets, depth, stride}, x.scalar_type());
  T* sum = mutable_data<T>(sums);
  parallel(kernels.panels(columns) * kOffsets, [&](int64_t task) {
    const int64_t o = task % kOffsets;
    kernels.weight_gradient(data<T>(x), depth, data<T>(held), stride, columns, pairs.book,
                            pairs.groups.data(), static_cast<int64_t>(pairs.groups.size()), o,
                            task / kOffsets, sum + o * depth * stride);
  });
  Tensor out = empty({columns, depth, 3, 3}, x.scalar_type());
  T* to = mutable_data<T>(out);
  parallel(columns, [&](int64_t column) {
    for (int64_t d = 0; d < depth; ++d) {
      for (int64_t o = 0; o < kOffsets; ++o) {
        to[(column * depth + d) * kOffsets + o] = sum[(o * depth + d) * stride + column];
      }
    }
  });
  return out;
}

template <class T>
Tensor bias_gradient(const Tensor& grad, int64_t active) {
  constexpr int64_t kChunk = 256;
  const int64_t columns = grad.size(1);
  std::vector<double> partial((active + kChunk - 1) / kChunk * columns);
  parallel_chunks(active, kChunk, [&](int64_t begin, int64_t end) {
    kernels_of<T>().column_sums(data<T>(grad), columns, begin, end, columns,
                                partial.data() + begin / kChunk * columns);
  });
  std::vector<double> sums(columns, 0.0);
  for (size_t i = 0; i < partial.size(); ++i) sums[i % columns] += partial[i];
  Tensor out = empty({columns}, grad.scalar_type());
  std::transform(sums.begin(), sums.end(), mutable_data<T>(out),
                 [](double sum) { return static_cast<T>(sum); });
  return out;
}

void check_weight(const Tensor& features, const Tensor& weight) {
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(1) == features.size(1) && weight.size(2) == 3 &&
                      weight.size(3) == 3,
                  kOp, ": weight must be (Cout, ", features.size(1), ", 3, 3)");
  check_operand(kOp, "weight", weight, weight.size(0) * weight.size(1) * kOffsets,
                features.scalar_type());
}

template <class T>
Tensor forward(const Tensor& features, const Tensor& weight, const Tensor* bias, const Pairs& pairs,
               ScalarType dtype) {
  const Tensor w = as_dtype(weight, dtype);
  const int64_t depth = weight.size(1);
  const Tensor packed =
      packed_weight(data<T>(w), depth * kOffsets, kOffsets, false, depth, weight.size(0), dtype);
  return convolve<T>(as_dtype(features, dtype), packed, bias, weight.size(0), pairs);
}

Tensor subm_conv2d(const Tensor& features, const Tensor& sites, const Tensor& offsets,
                   int64_t height, int64_t width, const Tensor& weight,
                   const std::optional<Tensor>& bias) {
  check_features(kOp, features);
  check_weight(features, weight);
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const Tensor site = check_sites(kOp, sites, frames, features.size(0), height, width);
  const ScalarType dtype = compute_dtype(features.scalar_type());
  std::optional<Tensor> start;
  if (bias.has_value()) {
    check_operand(kOp, "bias", *bias, weight.size(0), features.scalar_type());
    start = as_dtype(*bias, dtype);
  }
  const Pairs pairs(frames, data<int32_t>(site), width);
  const Tensor* added = start.has_value() ? &*start : nullptr;
  return as_dtype(dtype == ScalarType::Double
                      ? forward<double>(features, weight, added, pairs, dtype)
                      : forward<float>(features, weight, added, pairs, dtype),
                  features.scalar_type());
}

using Gradients = std::tuple<Tensor, Tensor, Tensor>;

template <class T>
Gradients backward(const Tensor& grad_out, const Tensor& features, const Tensor& weight,
                   const Pairs& pairs, ScalarType dtype, bool needs_features, bool needs_weight,
                   bool needs_bias) {
  const Tensor grad = as_dtype(grad_out, dtype);
  const int64_t depth = features.size(1);
  const int64_t columns = weight.size(0);
  const auto in_dtype = [&](const Tensor& t) { return as_dtype(t, features.scalar_type()); };
  const auto none = [&] { return empty({0}, features.scalar_type()); };
  Gradients out{none(), none(), none()};
  if (needs_features) {
    // The same convolution with the kernel turned by 180 degrees and channels exchanged.
    const Tensor w = as_dtype(weight, dtype);
    const Tensor packed =
        packed_weight(data<T>(w), kOffsets, depth * kOffsets, true, columns, depth, dtype);
    std::get<0>(out) = in_dtype(convolve<T>(grad, packed, nullptr, depth, pairs));
  }
  if (needs_weight) {
    std::get<1>(out) =
        in_dtype(weight_gradient<T>(as_dtype(features, dtype), grad, columns, pairs));
  }
  if (needs_bias) std::get<2>(out) = in_dtype(bias_gradient<T>(grad, pairs.book.rows));
  return out;
}

Gradients subm_conv2d_backward(const Tensor& grad_out, const Tensor& features, const Tensor& sites,
                               const Tensor& offsets, int64_t height, int64_t width,
                               const Tensor& weight, bool needs_features, bool needs_weight,
                               bool needs_bias) {
  check_features(kOp, features);
  check_weight(features, weight);
  check_operand(kOp, "grad_out", grad_out, features.size(0) * weight.size(0),
                features.scalar_type());
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const Tensor site = check_sites(kOp, sites, frames, features.size(0), height, width);
  const Pairs pairs(frames, data<int32_t>(site), width);
  const ScalarType dtype = compute_dtype(features.scalar_type());
  const auto run = dtype == ScalarType::Double ? backward<double> : backward<float>;
  return run(grad_out, features, weight, pairs, dtype, needs_features, needs_weight, needs_bias);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("subm_conv2d", TORCH_BOX(&subm_conv2d));
  m.impl("subm_conv2d_backward", TORCH_BOX(&subm_conv2d_backward));
}

}  // namespace mesm_ops
