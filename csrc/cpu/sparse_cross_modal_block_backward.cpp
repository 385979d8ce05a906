// The block's backward pass, from the forward pass's results: both convolutions' results, their
// statistics, the attention and the pool's argmax. Everything else is computed again.
#include <optional>
#include <tuple>

#include "kernels/sparse_cross_modal_block.h"
#include "registration.h"
#include "sparse_cross_modal_block.h"

MESM_KERNELS(SparseCrossModalBlockKernels, sparse_cross_modal_block)

namespace mesm_ops {
namespace {

void add_to(const float* from, int64_t count, float* to) {
  sparse_cross_modal_block_kernels().add_float32(from, count, to);
}
void add_to(const BFloat16* from, int64_t count, BFloat16* to) {
  sparse_cross_modal_block_kernels().add_bfloat16(from, count, to);
}
void add_to(const double* from, int64_t count, double* to) {
  sparse_cross_modal_block_kernels().add_float64(from, count, to);
}

// The gradient of the pool: each output's gradient goes to the maximum's row. frames: the rows'.
template <class T>
Tensor pool_gradient(const Tensor& grad_out, const Tensor& argmax, const Tensor& out_offsets,
                     const Frames& frames, int64_t rows) {
  const int64_t channels = grad_out.size(1);
  const Frames out_frames = check_offsets(kBlock, out_offsets, grad_out.size(0));
  MESM_CHECK(out_frames.count == frames.count, kBlock, ": out_offsets must be of ", frames.count,
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
  MESM_CHECK(fits.load(), kBlock, ": argmax must be rows from 0 to ", rows - 1);
  zero_rows(to, frames.active, rows, channels);
  return grad;
}

// Turns the gradient of relu(norm(y)) into y's, in place; returns the gradients of the norm.
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
                     mean, affine.scale.data(), affine.shift.data(), out.intercept.data(),
                     training ? out.slope.data() : nullptr, true, g + begin * channels);
  });
  return out;
}

// The gradient of a convolution's input.
template <class T>
Tensor input_gradient(const Tensor& grad, const Stage& stage, const ActivePairs& pairs,
                      Place place) {
  const Tensor weight = packable<T>(stage.weight);
  return convolve<T>(grad, Weights{weight, true, stage.out(), stage.in()}, nullptr, pairs, place);
}

// Refuses what another backend's forward pass kept, in the words of the reference.
void check_saved(const Tensor& y1, const Tensor& y2, const Tensor& argmax, int64_t rows,
                 int64_t middle, int64_t out) {
  const auto is = [&](const Tensor& t, int64_t channels) {
    return t.dim() == 2 && t.size(0) == rows && t.size(1) == channels;
  };
  MESM_CHECK(is(y1, middle) && is(y2, out) && argmax.scalar_type() == ScalarType::Int, kBlock,
             ": the backward pass cannot read what the forward pass kept: wanted y1 of (", rows,
             ", ", middle, "), y2 of (", rows, ", ", out, ") and argmax of Int, got ", y1.numel(),
             " and ", y2.numel(), " elements and ",
             torch::headeronly::toString(argmax.scalar_type()),
             ". They ran on different backends: put `use_backend` around both passes, a compiled "
             "function's too");
}

// Gradients of features, query, the attention's five parameters, then each stage's weight and norm.
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
    const Tensor& argmax, bool scales, bool learns, bool training, double eps1, double eps2,
    bool needs_weight1, bool needs_weight2) {
  check_features(kBlock, features);
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
  check_int32(kBlock, "rows", rows);
  check_saved(y1, y2, argmax, rows.numel(), stage1.out(), stage2.out());
  check_operand(kBlock, "y1", y1, rows.numel() * stage1.out(), dtype);
  check_operand(kBlock, "y2", y2, rows.numel() * stage2.out(), dtype);
  check_operand(kBlock, "attention", attention, features.size(0), compute_dtype(dtype));
  MESM_CHECK(grad_out.is_cpu() && grad_out.dim() == 2 && grad_out.size(1) == stage2.out(), kBlock,
             ": grad_out must be (rows, ", stage2.out(), ") on the CPU");
  check_operand(kBlock, "argmax", argmax, grad_out.numel(), ScalarType::Int);
  const Frames frames = check_offsets(kBlock, offsets, features.size(0));
  const Tensor site = check_sites(kBlock, sites, frames, features.size(0), height, width);
  const Frames kept = check_offsets(kBlock, kept_offsets, rows.numel());
  check_rows(kBlock, rows, frames, kept);
  const int64_t number = kept.active;
  Tensor kept_sites = empty({rows.numel()}, ScalarType::Int);
  for (int64_t i = 0; i < number; ++i) {
    mutable_data<int32_t>(kept_sites)[i] = data<int32_t>(site)[data<int32_t>(rows)[i]];
  }
  const Tensor checked_sites = check_sites(kBlock, torch::stable::narrow(kept_sites, 0, 0, number),
                                           kept, number, height, width);
  const ActivePairs pairs(kept, data<int32_t>(checked_sites), width);

  return with_storage(dtype, {stage1.in(), stage1.out(), stage2.out()}, [&]<class T>() {
    using A = Sums<T>;
    const auto stored = [](const Tensor& t) { return as_dtype(t, scalar_type_of<T>()); };
    const Tensor x = stored(features);
    const Norm norm1 = norm_of<T>(stage1, mean1, var1);
    const Norm norm2 = norm_of<T>(stage2, mean2, var2);

    const Tensor grad2 =
        pool_gradient<T>(stored(grad_out), argmax, out_offsets, kept, rows.numel());
    const Tensor stored2 = stored(y2);
    const NormGradient<A> of_norm2 = norm_gradient<T>(grad2, stored2, norm2, training, number);
    const Tensor stored1 = stored(y1);
    Tensor of_weight1 = empty({0}, dtype), of_weight2 = empty({0}, dtype);
    if (needs_weight2) {
      const Tensor z1 = normalized<T>(stored1, norm1, number, temporary<kHiddenSlot>);
      of_weight2 = weight_gradient<T>(z1, grad2, stage2.out(), pairs, temporary<kPartialSlot>);
    }
    const Tensor grad1 = input_gradient<T>(grad2, stage2, pairs, temporary<kGradientSlot>);

    const NormGradient<A> of_norm1 = norm_gradient<T>(grad1, stored1, norm1, training, number);
    if (needs_weight1) {
      const Tensor selected = gather_kept(row_kernels<T>(), x, attention, rows, frames, kept,
                                          scales, temporary<kSelectedSlot>);
      of_weight1 =
          weight_gradient<T>(selected, grad1, stage1.out(), pairs, temporary<kPartialSlot>);
    }
    const Tensor of_selected = input_gradient<T>(grad1, stage1, pairs, temporary<kHiddenSlot>);

    Tensor of_features = zeros({features.size(0), channels}, scalar_type_of<T>());
    Tensor moments = zeros({features.size(0)}, attention.scalar_type());
    Tensor of_logits = zeros({features.size(0)}, attention.scalar_type());
    parallel_chunks(frames.count, 4, [&](int64_t begin, int64_t end) {
      for (int64_t f = begin; f < end; ++f) {
        scatter_frame(selection_kernels<A>(), row_kernels<T>(), data<T>(of_selected), data<T>(x),
                      data<int32_t>(rows), data<A>(attention), frames, kept, f, channels, scales,
                      learns, mutable_data<T>(of_features), mutable_data<A>(moments),
                      mutable_data<A>(of_logits));
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
    if (learns) {
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
  m.impl("sparse_cross_modal_block_backward", TORCH_BOX(&sparse_cross_modal_block_backward));
}

STABLE_TORCH_LIBRARY_IMPL(mesm_ops, CPU, m) {
  m.impl("sparse_cross_modal_block_backward",
         with_selection<TORCH_BOX(&sparse_cross_modal_block_backward),
                        position_of("sparse_cross_modal_block_backward", "int selection"), true>);
}

}  // namespace mesm_ops
