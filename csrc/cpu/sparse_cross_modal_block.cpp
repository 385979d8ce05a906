// The block as one op, forward: scores, nucleus, two convolutions with their norms and ReLUs, pool.
// The rulebook is made once, and in inference the norms are folded.
#include "sparse_cross_modal_block.h"

#include <optional>
#include <tuple>

#include "registration.h"

namespace mesm_ops {
namespace {

// relu(norm(conv(x))) with a norm of known statistics, folded into the store of the sums.
template <class T>
Tensor convolve_folded(const Tensor& x, const Stage& stage, const Norm& norm,
                       const ActivePairs& pairs, Place place) {
  using A = Sums<T>;
  const int64_t columns = stage.out();
  Affine<A> affine(norm.weight, norm.bias, data<A>(norm.var), norm.eps);
  for (int64_t c = 0; c < columns; ++c) affine.shift[c] -= data<A>(norm.mean)[c] * affine.scale[c];
  const Tensor weight = packable<T>(stage.weight);
  Tensor out = place({x.size(0), columns}, x.scalar_type());
  convolve_groups(data<T>(x), Weights{weight, false, stage.in(), columns}, pairs,
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
  Tensor sites, offsets;         // the output's
  std::vector<int32_t> windows;  // kWindow rows for each output, counted from the frame's first
  int64_t number;

  // The output has `number` rows, or with padding as many as sparse_max_pool2d's.
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

// Pools relu(norm(y)), normalising a frame's rows just before the pool. argmax: rows of all frames.
template <class T>
std::tuple<Tensor, Tensor> pool(const Tensor& y, const Norm& norm, const Frames& frames,
                                const Windows& windows) {
  using A = Sums<T>;
  const int64_t channels = y.size(1);
  const int64_t rows = windows.sites.numel();
  const int32_t* offset = data<int32_t>(windows.offsets);
  const Affine<A> affine(norm.weight, norm.bias, data<A>(norm.var), norm.eps);
  Tensor out = empty({rows, channels}, y.scalar_type());
  Tensor argmax = empty({rows, channels}, ScalarType::Int);
  T* to = mutable_data<T>(out);
  int32_t* from = mutable_data<int32_t>(argmax);
  parallel(frames.count, [&](int64_t f) {
    const int64_t first = frames.offsets[f];
    const int64_t count = frames.offsets[f + 1] - first;
    T* z = scratch<T, kRowsSlot>(count * channels);
    norm_kernels<T>().normalize(data<T>(y) + first * channels, count, channels, data<A>(norm.mean),
                                affine.scale.data(), affine.shift.data(), true, z);
    pool_kernels<T>().maxima(z, channels, windows.windows.data() + offset[f] * kWindow,
                             offset[f + 1] - offset[f], to + offset[f] * channels,
                             from + offset[f] * channels);
    for (int64_t i = offset[f] * channels; i < offset[f + 1] * channels; ++i) {
      from[i] += static_cast<int32_t>(first);
    }
  });
  zero_rows(to, windows.number, rows, channels);
  std::fill(from + windows.number * channels, from + rows * channels, -1);
  return {out, argmax};
}

// Inference from the kept sites on: so many frames at a time that their rows stay in cache from
// stage to stage.
template <class T>
Tensor infer(const Tensor& x, const Selection& kept, const Frames& frames,
             const Frames& kept_frames, const Windows& windows, int64_t width, const Stage& stage1,
             const Norm& norm1, const Stage& stage2, const Norm& norm2, bool scales) {
  using A = Sums<T>;
  constexpr int64_t kBytes = 8 * 1024 * 1024;
  const int64_t channels = x.size(1);
  const int64_t columns = stage2.out();
  const int64_t row_bytes =
      std::max({channels, stage1.out(), columns}) * static_cast<int64_t>(sizeof(T));
  const int64_t number = std::max<int64_t>(1, (kept.number * row_bytes + kBytes / 2) / kBytes);
  const int64_t enough = (kept.number + number - 1) / number;
  const int32_t* out_offset = data<int32_t>(windows.offsets);
  Tensor out = empty({windows.sites.numel(), columns}, x.scalar_type());
  T* to = mutable_data<T>(out);
  for (int64_t begin = 0, end = 0; begin < frames.count; begin = end) {
    const int64_t first = kept_frames.offsets[begin];
    do ++end;
    while (end < frames.count && kept_frames.offsets[end] - first < enough);
    Tensor some_offsets = empty({end - begin + 1}, ScalarType::Int);
    int32_t* offsets = mutable_data<int32_t>(some_offsets);
    for (int64_t f = begin; f <= end; ++f) {
      offsets[f - begin] = static_cast<int32_t>(kept_frames.offsets[f] - first);
    }
    const Frames some{some_offsets, offsets, end - begin, offsets[end - begin]};
    const ActivePairs pairs(some, data<int32_t>(kept.sites) + first, width);
    const Tensor selected = temporary<kSelectedSlot>({some.active, channels}, x.scalar_type());
    parallel_chunks(some.count, 4, [&](int64_t from, int64_t until) {
      for (int64_t i = from; i < until; ++i) {
        const int64_t row = kept_frames.offsets[begin + i];
        row_kernels<T>().gather(data<T>(x), channels, data<int32_t>(kept.rows) + row,
                                offsets[i + 1] - offsets[i],
                                scales ? data<A>(kept.attention) : nullptr,
                                frames.offsets[begin + i + 1] - frames.offsets[begin + i],
                                mutable_data<T>(selected) + offsets[i] * channels);
      }
    });
    const Tensor z1 = convolve_folded<T>(selected, stage1, norm1, pairs, temporary<kHiddenSlot>);
    const Tensor z2 = convolve_folded<T>(z1, stage2, norm2, pairs, temporary<kLastSlot>);
    parallel(some.count, [&](int64_t i) {
      const int64_t out_row = out_offset[begin + i];
      pool_kernels<T>().maxima(
          data<T>(z2) + offsets[i] * columns, columns, windows.windows.data() + out_row * kWindow,
          out_offset[begin + i + 1] - out_row, to + out_row * columns, nullptr);
    });
  }
  zero_rows(to, windows.number, out.size(0), columns);
  return out;
}

// features, sites, offsets; mean and variance of both norms; then for the backward pass the kept
// rows and their offsets, the attention, both convolutions' results, the argmax.
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
    bool scales, bool /*learns*/, bool training, double eps1, double eps2, bool trim, bool keep) {
  check_features(kBlock, features);
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
  MESM_CHECK(p > 0, kBlock, ": p must be in (0, 1], got ", p);
  MESM_CHECK(height >= 2 && width >= 2, kBlock, ": maps must be at least 2 x 2");
  const Frames frames = check_offsets(kBlock, offsets, rows);
  const Tensor site = check_sites(kBlock, sites, frames, rows, height, width);
  const auto in_dtype = [&](const Tensor& t) { return as_dtype(t, dtype); };
  const Tensor logits = cross_modal_score(
      features, offsets, in_dtype(query), lengths, in_dtype(map_weight), in_dtype(map_bias),
      in_dtype(query_weight), in_dtype(score_weight), in_dtype(score_bias));

  return with_storage(dtype, {stage1.in(), stage2.in()}, [&]<class T>() -> Outputs {
    using A = Sums<T>;
    constexpr ScalarType wide = scalar_type_of<A>();
    check_variances<A>(kBlock, "running_var of the first norm", as_dtype(running_var1, wide));
    check_variances<A>(kBlock, "running_var of the second norm", as_dtype(running_var2, wide));
    const Tensor x = as_dtype(features, scalar_type_of<T>());
    const Selection kept = select_sites(selection_kernels<A>(), logits, site, frames, p, trim);
    const Frames kept_frames = check_offsets(kBlock, kept.offsets, kept.rows.numel());
    const int64_t padded =
        trim ? -1 : std::min(kept.rows.numel(), frames.count * ((height / 2) * (width / 2)));
    const Windows windows(kept.sites, kept_frames, height, width, padded);
    const auto none = [&](ScalarType type) { return empty({0}, type); };

    if (!training && !keep) {
      const Norm norm1 = norm_of<T>(stage1, running_mean1, running_var1);
      const Norm norm2 = norm_of<T>(stage2, running_mean2, running_var2);
      const Tensor out = infer<T>(x, kept, frames, kept_frames, windows, width, stage1, norm1,
                                  stage2, norm2, scales);
      const auto copy = [](const Tensor& t) { return torch::stable::clone(t); };
      return {in_dtype(out),        windows.sites,
              windows.offsets,      copy(norm1.mean),
              copy(norm1.var),      copy(norm2.mean),
              copy(norm2.var),      kept.rows,
              kept.offsets,         none(logits.scalar_type()),
              none(dtype),          none(dtype),
              none(ScalarType::Int)};
    }

    const Tensor selected = gather_kept(row_kernels<T>(), x, kept.attention, kept.rows, frames,
                                        kept_frames, scales, temporary<kSelectedSlot>);
    const ActivePairs pairs(kept_frames, data<int32_t>(kept.sites), width);
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
      const Tensor weight = packable<T>(stage.weight);
      const Weights weights{weight, false, stage.in(), stage.out()};
      const Tensor y = convolve<T>(from, weights, nullptr, pairs);
      // The backward pass reads what is kept, rounded, so the statistics are of these values too.
      return y.scalar_type() == dtype ? y : as_dtype(in_dtype(y), y.scalar_type());
    };
    const Tensor y1 = convolved(selected, stage1);
    const auto [mean1, var1] = statistics(y1, running_mean1, running_var1);
    const Tensor z1 =
        normalized<T>(y1, norm_of<T>(stage1, mean1, var1), kept.number, temporary<kHiddenSlot>);
    const Tensor y2 = convolved(z1, stage2);
    const auto [mean2, var2] = statistics(y2, running_mean2, running_var2);
    const Norm norm2 = norm_of<T>(stage2, mean2, var2);
    const auto [out, argmax] = pool<T>(y2, norm2, kept_frames, windows);
    return {in_dtype(out), windows.sites, windows.offsets, mean1,        var1,         mean2, var2,
            kept.rows,     kept.offsets,  kept.attention,  in_dtype(y1), in_dtype(y2), argmax};
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("sparse_cross_modal_block", TORCH_BOX(&sparse_cross_modal_block));
}

STABLE_TORCH_LIBRARY_IMPL(mesm_ops, CPU, m) {
  m.impl("sparse_cross_modal_block",
         with_selection<TORCH_BOX(&sparse_cross_modal_block),
                        position_of("sparse_cross_modal_block", "int selection"), false, true>);
}

}  // namespace mesm_ops
