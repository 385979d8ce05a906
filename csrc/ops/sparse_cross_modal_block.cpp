// The block as one op: scores, nucleus, two convolutions with their norms and ReLUs, pool. The
// rulebook is made once; nothing that only the next stage reads leaves the cache if it need not.
#include "../cpu/sparse_cross_modal_block.h"

#include <optional>
#include <tuple>

#include "../cpu/sparse_max_pool2d.h"
#include "batch_statistics.h"
#include "cross_modal_score.h"
#include "dispatch.h"
#include "scratch.h"
#include "subm_conv2d.h"
#include "tensor_checks.h"
#include "top_p_select.h"

MESM_KERNELS(SparseMaxPool2dKernels, sparse_max_pool2d)
MESM_KERNELS(SparseCrossModalBlockKernels, sparse_cross_modal_block)

namespace mesm_ops {
namespace {

constexpr const char* kOp = "sparse_cross_modal_block";

template <class T>
const auto& pool_kernels() {
  const SparseMaxPool2dKernels& kernels = sparse_max_pool2d_kernels();
  if constexpr (std::is_same_v<T, double>) {
    return kernels.float64;
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return kernels.bfloat16;
  } else {
    return kernels.float32;
  }
}

// The type rows are stored and multiplied in: theirs, or float32 for bfloat16 without dot products.
template <class F>
auto with_storage(ScalarType dtype, std::initializer_list<int64_t> depths, const F& f) {
  if (dtype == ScalarType::Double) return f.template operator()<double>();
  const bool dots = std::all_of(depths.begin(), depths.end(), multiplies_bfloat16);
  if (dtype == ScalarType::BFloat16 && dots) return f.template operator()<BFloat16>();
  return f.template operator()<float>();
}

struct Norm {
  Tensor weight, bias, mean, var;  // in the type of sums
  double eps;
};

// A convolution and its norm as they come.
struct Stage {
  const Tensor &weight, &norm_weight, &norm_bias;
  double eps;

  int64_t in() const { return weight.size(1); }
  int64_t out() const { return weight.size(0); }
};

void check_floating(const char* name, const Tensor& t, int64_t elements) {
  STD_TORCH_CHECK(t.is_cpu() && t.numel() == elements, kOp, ": ", name, " must have ", elements,
                  " elements on the CPU, got ", t.numel());
}

void check_stage(const Stage& stage, int64_t channels) {
  STD_TORCH_CHECK(stage.weight.is_cpu() && stage.weight.dim() == 4 && stage.in() == channels &&
                      stage.weight.size(2) == 3 && stage.weight.size(3) == 3,
                  kOp, ": weight must be (Cout, ", channels, ", 3, 3) on the CPU");
  check_floating("norm_weight", stage.norm_weight, stage.out());
  check_floating("norm_bias", stage.norm_bias, stage.out());
}

// weight in a type that packs: T, or the type of sums.
template <class T>
Tensor packable(const Tensor& weight) {
  constexpr ScalarType stored = scalar_type_of<T>();
  return weight.scalar_type() == stored ? as_contiguous(weight)
                                        : as_dtype(weight, scalar_type_of<Sums<T>>());
}

template <class T>
Norm norm_of(const Stage& stage, const Tensor& mean, const Tensor& var) {
  constexpr ScalarType dtype = scalar_type_of<Sums<T>>();
  return {as_dtype(stage.norm_weight, dtype), as_dtype(stage.norm_bias, dtype),
          as_dtype(mean, dtype), as_dtype(var, dtype), stage.eps};
}

// relu(norm(y)) of all rows.
template <class T>
Tensor normalized(const Tensor& y, const Norm& norm, int64_t rows, Place place) {
  using A = Sums<T>;
  const int64_t channels = y.size(1);
  const Affine<A> affine(norm.weight, norm.bias, data<A>(norm.var), norm.eps);
  Tensor out = place({y.size(0), channels}, y.scalar_type());
  parallel_chunks(rows, kStatisticsRows, [&](int64_t begin, int64_t end) {
    norm_kernels<T>().normalize(data<T>(y) + begin * channels, end - begin, channels,
                                data<A>(norm.mean), affine.scale.data(), affine.shift.data(), true,
                                mutable_data<T>(out) + begin * channels);
  });
  return out;
}

// relu(norm(conv(x))) with a norm of known statistics, folded into what the sums become.
template <class T>
Tensor convolve_folded(const Tensor& x, const Stage& stage, const Norm& norm,
                       const ActivePairs& pairs, Place place) {
  using A = Sums<T>;
  const int64_t columns = stage.out();
  Affine<A> affine(norm.weight, norm.bias, data<A>(norm.var), norm.eps);
  for (int64_t c = 0; c < columns; ++c) affine.shift[c] -= data<A>(norm.mean)[c] * affine.scale[c];
  const Tensor held = packable<T>(stage.weight);
  Tensor out = place({x.size(0), columns}, x.scalar_type());
  convolve_groups(data<T>(x), Weights{held, false, stage.in(), columns}, pairs,
                  [&](int64_t g, int64_t panel, const A* sums) {
                    const FrameGroup& group = pairs.groups[g];
                    convolution_kernels<T>().store(
                        sums, group.row_end - group.row_begin, columns, panel, affine.scale.data(),
                        affine.shift.data(), true,
                        mutable_data<T>(out) + group.row_begin * columns);
                  });
  return out;
}

struct Windows {
  Tensor sites, offsets;         // of the output
  std::vector<int32_t> windows;  // rows of the frame's own, kWindow for each output
  int64_t number;

  // Rows out: `number`, or with padding as many as sparse_max_pool2d has.
  Windows(const Tensor& in_sites, const Frames& frames, int64_t height, int64_t width,
          int64_t padded_rows) {
    const int32_t* site = data<int32_t>(in_sites);
    const auto windows_of = [&](int64_t f, int32_t* out_sites, int32_t* to) {
      const int64_t first = frames.offsets[f];
      return sparse_max_pool2d_kernels().windows(site + first, 0, frames.offsets[f + 1] - first,
                                                 height, width, out_sites, to);
    };
    offsets = empty({frames.count + 1}, ScalarType::Int);
    int32_t* offset = mutable_data<int32_t>(offsets);
    offset[0] = 0;
    parallel_chunks(frames.count, 8, [&](int64_t begin, int64_t end) {
      for (int64_t f = begin; f < end; ++f) {
        offset[f + 1] = static_cast<int32_t>(windows_of(f, nullptr, nullptr));
      }
    });
    for (int64_t f = 0; f < frames.count; ++f) offset[f + 1] += offset[f];
    number = offset[frames.count];
    const int64_t rows = padded_rows < 0 ? number : padded_rows;
    sites = empty({rows}, ScalarType::Int);
    windows.resize(number * kWindow);
    int32_t* out_site = mutable_data<int32_t>(sites);
    parallel_chunks(frames.count, 8, [&](int64_t begin, int64_t end) {
      for (int64_t f = begin; f < end; ++f) {
        windows_of(f, out_site + offset[f], windows.data() + offset[f] * kWindow);
      }
    });
    zero_rows(out_site, number, rows, 1);
  }
};

// Pools relu(norm(y)), normalising a frame's rows where they are read. norm null: y as it is, and
// nobody asks for argmax.
template <class T>
std::tuple<Tensor, Tensor> pool(const Tensor& y, const Norm* norm, const Frames& frames,
                                const Windows& windows) {
  using A = Sums<T>;
  const int64_t channels = y.size(1);
  const int64_t rows = windows.sites.numel();
  const int32_t* offset = data<int32_t>(windows.offsets);
  std::optional<Affine<A>> affine;
  if (norm != nullptr) affine.emplace(norm->weight, norm->bias, data<A>(norm->var), norm->eps);
  Tensor out = empty({rows, channels}, y.scalar_type());
  const int64_t chosen = norm != nullptr ? rows : 0;
  Tensor argmax = empty({chosen, channels}, ScalarType::Int);
  T* to = mutable_data<T>(out);
  int32_t* from = norm != nullptr ? mutable_data<int32_t>(argmax) : nullptr;
  parallel(frames.count, [&](int64_t f) {
    const int64_t first = frames.offsets[f];
    const int64_t count = frames.offsets[f + 1] - first;
    const T* z = data<T>(y) + first * channels;
    if (affine.has_value()) {
      T* held = scratch<T, kRowsSlot>(count * channels);
      norm_kernels<T>().normalize(z, count, channels, data<A>(norm->mean), affine->scale.data(),
                                  affine->shift.data(), true, held);
      z = held;
    }
    pool_kernels<T>().maxima(z, channels, windows.windows.data() + offset[f] * kWindow,
                             offset[f + 1] - offset[f], to + offset[f] * channels,
                             from == nullptr ? nullptr : from + offset[f] * channels);
    if (from == nullptr) return;
    for (int64_t i = offset[f] * channels; i < offset[f + 1] * channels; ++i) {
      from[i] += static_cast<int32_t>(first);
    }
  });
  zero_rows(to, windows.number, rows, channels);
  if (from != nullptr) std::fill(from + windows.number * channels, from + rows * channels, -1);
  return {out, argmax};
}

// features, sites, offsets; mean and variance of both norms; then what the backward pass needs:
// the kept rows and their offsets, the attention, both convolutions' results, the pool's choice.
using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                           Tensor, Tensor, Tensor, Tensor>;

Outputs sparse_cross_modal_block(
    const Tensor& features, const Tensor& sites, const Tensor& offsets, int64_t height,
    int64_t width, const Tensor& query, const std::optional<Tensor>& lengths,
    const Tensor& map_weight, const Tensor& map_bias, const Tensor& query_weight,
    const Tensor& score_weight, const Tensor& score_bias, const Tensor& weight1,
    const Tensor& norm_weight1, const Tensor& norm_bias1, const Tensor& running_mean1,
    const Tensor& running_var1, const Tensor& weight2, const Tensor& norm_weight2,
    const Tensor& norm_bias2, const Tensor& running_mean2, const Tensor& running_var2, double p,
    bool weighted, bool training, double eps1, double eps2, bool trim, bool keep) {
  check_features(kOp, features);
  const ScalarType dtype = features.scalar_type();
  const int64_t rows = features.size(0);
  const Stage stage1{weight1, norm_weight1, norm_bias1, eps1};
  const Stage stage2{weight2, norm_weight2, norm_bias2, eps2};
  check_stage(stage1, features.size(1));
  check_stage(stage2, stage1.out());
  check_floating("running_mean", running_mean1, stage1.out());
  check_floating("running_var", running_var1, stage1.out());
  check_floating("running_mean", running_mean2, stage2.out());
  check_floating("running_var", running_var2, stage2.out());
  STD_TORCH_CHECK(p > 0, kOp, ": p must be in (0, 1], got ", p);
  STD_TORCH_CHECK(height >= 2 && width >= 2, kOp, ": maps must be at least 2 x 2");
  const Frames frames = check_offsets(kOp, offsets, rows);
  const Tensor site = check_sites(kOp, sites, frames, rows, height, width);
  const auto in_dtype = [&](const Tensor& t) { return as_dtype(t, dtype); };
  const Tensor logits = cross_modal_score(
      features, offsets, in_dtype(query), lengths, in_dtype(map_weight), in_dtype(map_bias),
      in_dtype(query_weight), in_dtype(score_weight), in_dtype(score_bias));

  return with_storage(dtype, {stage1.in(), stage2.in()}, [&]<class T>() -> Outputs {
    using A = Sums<T>;
    constexpr ScalarType wide = scalar_type_of<A>();
    const Tensor x = as_dtype(features, scalar_type_of<T>());
    const Selection kept = select_sites(selection_kernels<A>(), logits, site, frames, p, trim);
    const Frames kept_frames = check_offsets(kOp, kept.offsets, kept.rows.numel());
    const Tensor selected = gather_kept(row_kernels<T>(), x, kept.attention, kept.rows, frames,
                                        kept_frames, weighted, temporary<kSelectedSlot>);
    const ActivePairs pairs(kept_frames, data<int32_t>(kept.sites), width);
    const int64_t padded =
        trim ? -1 : std::min(kept.rows.numel(), frames.count * ((height / 2) * (width / 2)));
    const Windows windows(kept.sites, kept_frames, height, width, padded);
    const auto none = [&](ScalarType type) { return empty({0}, type); };

    if (!training && !keep) {
      const Norm norm1 = norm_of<T>(stage1, running_mean1, running_var1);
      const Norm norm2 = norm_of<T>(stage2, running_mean2, running_var2);
      const Tensor z1 = convolve_folded<T>(selected, stage1, norm1, pairs, temporary<kHiddenSlot>);
      const Tensor z2 = convolve_folded<T>(z1, stage2, norm2, pairs, temporary<kLastSlot>);
      const auto [out, argmax] = pool<T>(z2, nullptr, kept_frames, windows);
      const auto copy = [](const Tensor& t) { return torch::stable::clone(t); };
      return {in_dtype(out),        windows.sites,
              windows.offsets,      copy(norm1.mean),
              copy(norm1.var),      copy(norm2.mean),
              copy(norm2.var),      kept.rows,
              kept.offsets,         none(logits.scalar_type()),
              none(dtype),          none(dtype),
              none(ScalarType::Int)};
    }

    const auto statistics = [&](const Tensor& y, const Tensor& mean, const Tensor& var) {
      if (!training)
        return std::tuple<Tensor, Tensor>{torch::stable::clone(as_dtype(mean, wide)),
                                          torch::stable::clone(as_dtype(var, wide))};
      std::tuple<Tensor, Tensor> out{empty({y.size(1)}, wide), empty({y.size(1)}, wide)};
      batch_moments(norm_kernels<T>(), data<T>(y), kept.number, y.size(1),
                    mutable_data<A>(std::get<0>(out)), mutable_data<A>(std::get<1>(out)));
      return out;
    };
    const auto convolved = [&](const Tensor& from, const Stage& stage) {
      const Tensor held = packable<T>(stage.weight);
      return convolve<T>(from, Weights{held, false, stage.in(), stage.out()}, nullptr, pairs);
    };
    const Tensor y1 = convolved(selected, stage1);
    const auto [mean1, var1] = statistics(y1, running_mean1, running_var1);
    const Tensor z1 =
        normalized<T>(y1, norm_of<T>(stage1, mean1, var1), kept.number, temporary<kHiddenSlot>);
    const Tensor y2 = convolved(z1, stage2);
    const auto [mean2, var2] = statistics(y2, running_mean2, running_var2);
    const Norm norm2 = norm_of<T>(stage2, mean2, var2);
    const auto [out, argmax] = pool<T>(y2, &norm2, kept_frames, windows);
    return {in_dtype(out), windows.sites, windows.offsets, mean1,        var1,         mean2, var2,
            kept.rows,     kept.offsets,  kept.attention,  in_dtype(y1), in_dtype(y2), argmax};
  });
}

void add_to(const float* from, int64_t count, float* to) {
  sparse_cross_modal_block_kernels().add_float32(from, count, to);
}
void add_to(const BFloat16* from, int64_t count, BFloat16* to) {
  sparse_cross_modal_block_kernels().add_bfloat16(from, count, to);
}
void add_to(const double* from, int64_t count, double* to) {
  sparse_cross_modal_block_kernels().add_float64(from, count, to);
}

// The gradient of the pool: each output's goes to the row it came from. frames: of the rows.
template <class T>
Tensor pool_gradient(const Tensor& grad_out, const Tensor& argmax, const Tensor& out_offsets,
                     const Frames& frames, int64_t rows) {
  const int64_t channels = grad_out.size(1);
  const Frames out_frames = check_offsets(kOp, out_offsets, grad_out.size(0));
  STD_TORCH_CHECK(out_frames.count == frames.count, kOp, ": out_offsets must be of ", frames.count,
                  " frames, got ", out_frames.count);
  Tensor grad = temporary<kLastSlot>({rows, channels}, grad_out.scalar_type());
  T* to = mutable_data<T>(grad);
  std::atomic<bool> fits{true};
  parallel(frames.count, [&](int64_t f) {
    const int64_t out_first = out_frames.offsets[f];
    zero_rows(to, frames.offsets[f], frames.offsets[f + 1], channels);
    if (!pool_kernels<T>().backward(data<T>(grad_out) + out_first * channels,
                                    data<int32_t>(argmax) + out_first * channels, channels,
                                    out_frames.offsets[f + 1] - out_first, rows, to)) {
      fits.store(false);
    }
  });
  STD_TORCH_CHECK(fits.load(), kOp, ": argmax must be rows from 0 to ", rows - 1);
  zero_rows(to, frames.active, rows, channels);
  return grad;
}

// Turns the gradient of relu(norm(y)) into that of y, in place; returns those of the norm.
template <class T>
NormGradient<Sums<T>> norm_gradient(const Tensor& grad, const Tensor& y, const Norm& norm,
                                    bool training, int64_t rows) {
  using A = Sums<T>;
  const auto& kernels = norm_kernels<T>();
  const int64_t channels = y.size(1);
  const Affine<A> affine(norm.weight, norm.bias, data<A>(norm.var), norm.eps);
  const A* mean = data<A>(norm.mean);
  T* g = mutable_data<T>(grad);
  const int64_t chunks = (rows + kStatisticsRows - 1) / kStatisticsRows;
  std::vector<double> weight_parts(chunks * channels), bias_parts(chunks * channels);
  parallel_chunks(rows, kStatisticsRows, [&](int64_t begin, int64_t end) {
    const int64_t at = begin / kStatisticsRows * channels;
    kernels.backward_sums(g + begin * channels, data<T>(y) + begin * channels, end - begin,
                          channels, mean, affine.scale.data(), affine.shift.data(), true,
                          weight_parts.data() + at, bias_parts.data() + at);
  });
  NormGradient<A> out(weight_parts, bias_parts, channels, data<A>(norm.var), norm.eps, training,
                      rows);
  parallel_chunks(rows, kStatisticsRows, [&](int64_t begin, int64_t end) {
    kernels.backward(g + begin * channels, data<T>(y) + begin * channels, end - begin, channels,
                     mean, affine.scale.data(), affine.shift.data(), out.offset.data(),
                     out.slope.data(), true, g + begin * channels);
  });
  return out;
}

// The gradient of a convolution's input.
template <class T>
Tensor input_gradient(const Tensor& grad, const Stage& stage, const ActivePairs& pairs,
                      Place place) {
  const Tensor held = packable<T>(stage.weight);
  return convolve<T>(grad, Weights{held, true, stage.out(), stage.in()}, nullptr, pairs, place);
}

// Of features, query, the attention's five parameters, then of each stage's weight and norm.
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                             Tensor, Tensor, Tensor, Tensor>;

Gradients sparse_cross_modal_block_backward(
    const Tensor& grad_out, const Tensor& features, const Tensor& sites, const Tensor& offsets,
    int64_t height, int64_t width, const Tensor& query, const std::optional<Tensor>& lengths,
    const Tensor& map_weight, const Tensor& map_bias, const Tensor& query_weight,
    const Tensor& score_weight, const Tensor& score_bias, const Tensor& weight1,
    const Tensor& norm_weight1, const Tensor& norm_bias1, const Tensor& weight2,
    const Tensor& norm_weight2, const Tensor& norm_bias2, const Tensor& mean1, const Tensor& var1,
    const Tensor& mean2, const Tensor& var2, const Tensor& rows, const Tensor& kept_offsets,
    const Tensor& attention, const Tensor& y1, const Tensor& y2, const Tensor& out_offsets,
    const Tensor& argmax, bool weighted, bool training, double eps1, double eps2) {
  check_features(kOp, features);
  const ScalarType dtype = features.scalar_type();
  const int64_t channels = features.size(1);
  const Stage stage1{weight1, norm_weight1, norm_bias1, eps1};
  const Stage stage2{weight2, norm_weight2, norm_bias2, eps2};
  check_stage(stage1, channels);
  check_stage(stage2, stage1.out());
  check_floating("mean", mean1, stage1.out());
  check_floating("var", var1, stage1.out());
  check_floating("mean", mean2, stage2.out());
  check_floating("var", var2, stage2.out());
  check_int32(kOp, "rows", rows);
  check_operand(kOp, "y1", y1, rows.numel() * stage1.out(), dtype);
  check_operand(kOp, "y2", y2, rows.numel() * stage2.out(), dtype);
  check_operand(kOp, "attention", attention, features.size(0), compute_dtype(dtype));
  STD_TORCH_CHECK(grad_out.is_cpu() && grad_out.dim() == 2 && grad_out.size(1) == stage2.out(), kOp,
                  ": grad_out must be (rows, ", stage2.out(), ") on the CPU");
  check_operand(kOp, "argmax", argmax, grad_out.numel(), ScalarType::Int);
  const Frames frames = check_offsets(kOp, offsets, features.size(0));
  const Tensor site = check_sites(kOp, sites, frames, features.size(0), height, width);
  const Frames kept = check_offsets(kOp, kept_offsets, rows.numel());
  check_rows(kOp, rows, frames, kept);
  const int64_t number = kept.active;
  Tensor kept_sites = empty({rows.numel()}, ScalarType::Int);
  for (int64_t i = 0; i < number; ++i) {
    mutable_data<int32_t>(kept_sites)[i] = data<int32_t>(site)[data<int32_t>(rows)[i]];
  }
  const Tensor held_sites = check_sites(kOp, torch::stable::narrow(kept_sites, 0, 0, number), kept,
                                        number, height, width);
  const ActivePairs pairs(kept, data<int32_t>(held_sites), width);

  return with_storage(dtype, {stage1.in(), stage1.out(), stage2.out()}, [&]<class T>() {
    using A = Sums<T>;
    const auto stored = [](const Tensor& t) { return as_dtype(t, scalar_type_of<T>()); };
    const Tensor x = stored(features);
    const Norm norm1 = norm_of<T>(stage1, mean1, var1);
    const Norm norm2 = norm_of<T>(stage2, mean2, var2);

    const Tensor grad2 =
        pool_gradient<T>(stored(grad_out), argmax, out_offsets, kept, rows.numel());
    const Tensor held2 = stored(y2);
    const NormGradient<A> of_norm2 = norm_gradient<T>(grad2, held2, norm2, training, number);
    const Tensor held1 = stored(y1);
    const Tensor z1 = normalized<T>(held1, norm1, number, temporary<kHiddenSlot>);
    const Tensor of_weight2 =
        weight_gradient<T>(z1, grad2, stage2.out(), pairs, temporary<kPartialSlot>);
    const Tensor grad1 = input_gradient<T>(grad2, stage2, pairs, temporary<kGradientSlot>);

    const NormGradient<A> of_norm1 = norm_gradient<T>(grad1, held1, norm1, training, number);
    const Tensor selected = gather_kept(row_kernels<T>(), x, attention, rows, frames, kept,
                                        weighted, temporary<kSelectedSlot>);
    const Tensor of_weight1 =
        weight_gradient<T>(selected, grad1, stage1.out(), pairs, temporary<kPartialSlot>);
    const Tensor of_selected = input_gradient<T>(grad1, stage1, pairs, temporary<kHiddenSlot>);

    Tensor of_features = zeros({features.size(0), channels}, scalar_type_of<T>());
    Tensor of_attention = zeros({features.size(0)}, attention.scalar_type());
    Tensor of_logits = zeros({features.size(0)}, attention.scalar_type());
    parallel_chunks(frames.count, 4, [&](int64_t begin, int64_t end) {
      for (int64_t f = begin; f < end; ++f) {
        const int64_t first = frames.offsets[f];
        const int64_t count = frames.offsets[f + 1] - first;
        row_kernels<T>().scatter(data<T>(of_selected) + kept.offsets[f] * channels, channels,
                                 data<int32_t>(rows) + kept.offsets[f],
                                 kept.offsets[f + 1] - kept.offsets[f],
                                 weighted ? data<A>(attention) : nullptr, count, data<T>(x),
                                 mutable_data<T>(of_features), mutable_data<A>(of_attention));
        if (!weighted) continue;
        selection_kernels<A>().softmax_backward(data<A>(attention) + first,
                                                data<A>(of_attention) + first, count,
                                                mutable_data<A>(of_logits) + first);
      }
    });

    const auto like = [](const Tensor& gradient, const Tensor& t) {
      return as_dtype(gradient, t.scalar_type());
    };
    const auto none = [&] { return empty({0}, dtype); };
    Gradients out{of_features,
                  none(),
                  none(),
                  none(),
                  none(),
                  none(),
                  none(),
                  like(of_weight1, weight1),
                  like(of_norm1.weight, norm_weight1),
                  like(of_norm1.bias, norm_bias1),
                  like(of_weight2, weight2),
                  like(of_norm2.weight, norm_weight2),
                  like(of_norm2.bias, norm_bias2)};
    if (weighted) {
      const auto in_dtype = [&](const Tensor& t) { return as_dtype(t, dtype); };
      const auto of_score = cross_modal_score_backward(
          of_logits, features, offsets, in_dtype(query), lengths, in_dtype(map_weight),
          in_dtype(map_bias), in_dtype(query_weight), in_dtype(score_weight));
      const Tensor added = stored(std::get<0>(of_score));
      constexpr int64_t kChunk = 1 << 16;
      parallel_chunks(added.numel(), kChunk, [&](int64_t begin, int64_t end) {
        add_to(data<T>(added) + begin, end - begin, mutable_data<T>(of_features) + begin);
      });
      std::get<1>(out) = like(std::get<1>(of_score), query);
      std::get<2>(out) = like(std::get<2>(of_score), map_weight);
      std::get<3>(out) = like(std::get<3>(of_score), map_bias);
      std::get<4>(out) = like(std::get<4>(of_score), query_weight);
      std::get<5>(out) = like(std::get<5>(of_score), score_weight);
      std::get<6>(out) = like(std::get<6>(of_score), score_bias);
    }
    std::get<0>(out) = like(of_features, features);
    return out;
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("sparse_cross_modal_block", TORCH_BOX(&sparse_cross_modal_block));
  m.impl("sparse_cross_modal_block_backward", TORCH_BOX(&sparse_cross_modal_block_backward));
}

}  // namespace mesm_ops
