#include "cross_modal_score.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <vector>

#include "cross_modal_score_products.h"
#include "scratch.h"
#include "tensor_checks.h"

namespace mesm_ops {
namespace {

constexpr const char* kOp = "cross_modal_score";
constexpr int64_t kChunk = 128;  // rows a task works on; their hidden values stay in cache

struct Inputs {
  Tensor features, query, map_weight, query_weight;  // in the features' dtype
  Tensor map_bias, score_weight;                     // in `dtype`
  ScalarType dtype;                                  // sums are formed in it
  int64_t rows, channels, samples, query_dim, hidden;
  Frames frames;
  std::vector<int32_t> sample;  // the sample of each active row
  std::vector<int32_t> sample_of_frame;
};

std::vector<int32_t> samples_of_frames(const Frames& frames, int64_t samples,
                                       const std::optional<Tensor>& lengths) {
  std::vector<int32_t> out(frames.count);
  if (!lengths.has_value()) {
    MESM_CHECK(samples == frames.count, kOp, ": query must have one row per frame (", frames.count,
               ") where lengths is None, got ", samples);
    std::iota(out.begin(), out.end(), 0);
    return out;
  }
  const Tensor wide_lengths = as_dtype(*lengths, ScalarType::Long);
  MESM_CHECK(wide_lengths.is_cpu() && wide_lengths.dim() == 1 && wide_lengths.numel() == samples,
             kOp, ": lengths must have one element per row of query (", samples, "), got ",
             wide_lengths.numel());
  const int64_t* length = data<int64_t>(wide_lengths);
  int64_t frame = 0;
  for (int64_t b = 0; b < samples; ++b) {
    MESM_CHECK(length[b] >= 0 && length[b] <= frames.count - frame, kOp,
               ": lengths must be >= 0 and sum to the ", frames.count, " frames, got ", length[b],
               " for sample ", b);
    for (int64_t i = 0; i < length[b]; ++i) out[frame++] = static_cast<int32_t>(b);
  }
  MESM_CHECK(frame == frames.count, kOp, ": lengths must sum to the ", frames.count,
             " frames, got ", frame);
  return out;
}

Inputs check_inputs(const Tensor& features, const Tensor& offsets, const Tensor& query,
                    const std::optional<Tensor>& lengths, const Tensor& map_weight,
                    const Tensor& map_bias, const Tensor& query_weight,
                    const Tensor& score_weight) {
  check_features(kOp, features);
  MESM_CHECK(map_weight.dim() == 2 && query_weight.dim() == 2 && query.dim() == 2, kOp,
             ": query, map_weight and query_weight must have 2 dimensions");
  const ScalarType given = features.scalar_type();
  const int64_t hidden = map_weight.size(0);
  const int64_t channels = features.size(1);
  const int64_t samples = query.size(0);
  const int64_t query_dim = query.size(1);
  MESM_CHECK(map_weight.size(1) == channels, kOp, ": map_weight must be (", hidden, ", ", channels,
             ") for ", channels, " channels, got (", hidden, ", ", map_weight.size(1), ")");
  check_operand(kOp, "map_weight", map_weight, hidden * channels, given);
  check_operand(kOp, "map_bias", map_bias, hidden, given);
  MESM_CHECK(query_weight.size(0) == hidden && query_weight.size(1) == query_dim, kOp,
             ": query_weight must be (", hidden, ", ", query_dim, "), got (", query_weight.size(0),
             ", ", query_weight.size(1), ")");
  check_operand(kOp, "query_weight", query_weight, hidden * query_dim, given);
  check_operand(kOp, "query", query, samples * query_dim, given);
  check_operand(kOp, "score_weight", score_weight, hidden, given);
  const ScalarType dtype = compute_dtype(given);
  Inputs in{as_contiguous(features),
            as_contiguous(query),
            as_contiguous(map_weight),
            as_contiguous(query_weight),
            as_dtype(map_bias, dtype),
            as_dtype(score_weight, dtype),
            dtype,
            features.size(0),
            channels,
            samples,
            query_dim,
            hidden,
            check_offsets(kOp, offsets, features.size(0)),
            {},
            {}};
  in.sample_of_frame = samples_of_frames(in.frames, samples, lengths);
  in.sample.resize(in.frames.active);
  for (int64_t f = 0; f < in.frames.count; ++f) {
    std::fill(in.sample.begin() + in.frames.offsets[f],
              in.sample.begin() + in.frames.offsets[f + 1], in.sample_of_frame[f]);
  }
  return in;
}

// The query projection, where a row's hidden values start: map_bias + query_weight q per sample.
template <class T>
Tensor asked(const Inputs& in) {
  const int64_t stride = padded_columns(in.hidden);
  Tensor out = zeros({in.samples, stride}, in.dtype);
  T* to = mutable_data<T>(out);
  for (int64_t b = 0; b < in.samples; ++b) {
    std::copy_n(data<T>(in.map_bias), in.hidden, to + b * stride);
  }
  const Projection<T> projection(in.query, in.query_weight);
  const std::vector<int32_t> local = first_rows(kChunk);
  parallel_chunks(in.samples, kChunk, [&](int64_t begin, int64_t end) {
    projection.add(begin, end, local.data(), to + begin * stride, stride);
  });
  return out;
}

template <class T>
struct Activation {
  Tensor start = {};
  Projection<T> projection;
  std::vector<T> score;  // padded with zeros
  int64_t stride;

  explicit Activation(const Inputs& in)
      : start(asked<T>(in)),
        projection(in.features, in.map_weight),
        score(padded_columns(in.hidden), T(0)),
        stride(padded_columns(in.hidden)) {
    std::copy_n(data<T>(in.score_weight), in.hidden, score.begin());
  }

  // t[i] = tanh(z) and logits of rows [begin, end), local being 0, 1, 2, ...
  void run(const Inputs& in, const int32_t* local, int64_t begin, int64_t end, T bias, T* t,
           T* logits) const {
    const T* from = data<T>(start);
    for (int64_t row = begin; row < end; ++row) {
      std::copy_n(from + in.sample[row] * stride, stride, t + (row - begin) * stride);
    }
    projection.add(begin, end, local, t, stride);
    score_kernels<T>().activate(t, stride, end - begin, score.data(), bias, in.hidden, logits);
  }
};

template <class T>
Tensor forward(const Inputs& in, const Tensor& score_bias) {
  Tensor logits = empty({in.rows}, in.dtype);
  T* out = mutable_data<T>(logits);
  zero_rows(out, in.frames.active, in.rows, 1);
  const Activation<T> activation(in);
  const T bias = data<T>(score_bias)[0];
  const std::vector<int32_t> local = first_rows(kChunk);
  parallel_chunks(in.frames.active, kChunk, [&](int64_t begin, int64_t end) {
    T* hidden = scratch<T, 3>(kChunk * activation.stride);
    activation.run(in, local.data(), begin, end, bias, hidden, out + begin);
  });
  return logits;
}

}  // namespace

Tensor cross_modal_score(const Tensor& features, const Tensor& offsets, const Tensor& query,
                         const std::optional<Tensor>& lengths, const Tensor& map_weight,
                         const Tensor& map_bias, const Tensor& query_weight,
                         const Tensor& score_weight, const Tensor& score_bias) {
  const Inputs in = check_inputs(features, offsets, query, lengths, map_weight, map_bias,
                                 query_weight, score_weight);
  check_operand(kOp, "score_bias", score_bias, 1, features.scalar_type());
  const Tensor bias = as_dtype(score_bias, in.dtype);
  return in.dtype == ScalarType::Double ? forward<double>(in, bias) : forward<float>(in, bias);
}

namespace {

using Gradients = ScoreGradients;

// Sums given in double as a tensor of T.
template <class T>
Tensor tensor_of(const std::vector<double>& sums, std::initializer_list<int64_t> sizes,
                 ScalarType dtype) {
  Tensor out = zeros(sizes, dtype);
  for (size_t i = 0; i < sums.size(); ++i) mutable_data<T>(out)[i] = static_cast<T>(sums[i]);
  return out;
}

// Adds rows [begin, end) of dz to the sums of their frames, (frames, hidden).
template <class T>
void add_by_frame(const Inputs& in, const T* dz, int64_t stride, int64_t begin, int64_t end,
                  std::vector<double>& by_frame) {
  const int32_t* offsets = in.frames.offsets;
  const int64_t first = std::upper_bound(offsets, offsets + in.frames.count, begin) - offsets - 1;
  const int64_t last = std::lower_bound(offsets, offsets + in.frames.count, end) - offsets;
  parallel_chunks(last - first, 4, [&](int64_t chunk_begin, int64_t chunk_end) {
    double* sums = scratch<double, 3>(in.hidden);
    for (int64_t f = first + chunk_begin; f < first + chunk_end; ++f) {
      const int64_t row = std::max<int64_t>(offsets[f], begin);
      const int64_t stop = std::min<int64_t>(offsets[f + 1], end);
      score_kernels<T>().column_sums(dz + (row - begin) * stride, stride, stop - row, in.hidden,
                                     sums);
      for (int64_t c = 0; c < in.hidden; ++c) by_frame[f * in.hidden + c] += sums[c];
    }
  });
}

template <class T>
Gradients backward(const Tensor& grad_logits, const Inputs& in) {
  constexpr int64_t kBlock =
      16 * kChunk;  // rows worked on together, whose hidden values stay in cache
  const auto& kernels = score_kernels<T>();
  const auto wide = [&](const Tensor& t) { return as_dtype(t, in.dtype); };
  const Activation<T> activation(in);
  const int64_t stride = activation.stride;
  const int64_t active = in.frames.active;
  const T* grad = data<T>(grad_logits);
  const Product<T> of_features(
      packed<T>(wide(in.map_weight), 1, in.channels, in.hidden, in.channels), in.hidden,
      in.channels, in.rows, in.features.scalar_type());
  const Product<T> of_query(
      packed<T>(wide(in.query_weight), 1, in.query_dim, in.hidden, in.query_dim), in.hidden,
      in.query_dim, in.samples, in.query.scalar_type());

  const int64_t x_stride = padded_columns(in.channels);
  const bool stored = in.features.scalar_type() == in.dtype;
  const Tensor x = stored ? padded(in.features) : in.features;
  T* hidden_values = scratch<T, 4>(std::min(active, kBlock) * stride);  // tanh(z), then dz
  T* widened = stored ? nullptr : scratch<T, 5>(std::min(active, kBlock) * x_stride);
  Tensor of_map = zeros({in.hidden, x_stride}, in.dtype);
  std::vector<double> partial((active + kChunk - 1) / kChunk * in.hidden);
  std::vector<double> by_frame(in.frames.count * in.hidden, 0.0);
  const std::vector<int32_t> local = first_rows(kChunk);
  for (int64_t first = 0; first < active; first += kBlock) {
    const int64_t rows = std::min(kBlock, active - first);
    parallel_chunks(rows, kChunk, [&](int64_t chunk_begin, int64_t chunk_end) {
      const int64_t begin = first + chunk_begin;
      const int64_t end = first + chunk_end;
      T logits[kChunk];
      T* t = hidden_values + chunk_begin * stride;
      activation.run(in, local.data(), begin, end, T(0), t, logits);
      kernels.activate_backward(t, stride, end - begin, activation.score.data(), grad + begin,
                                in.hidden, partial.data() + begin / kChunk * in.hidden);
      of_features.form(t, stride, begin, end, local.data());
      if constexpr (sizeof(T) == sizeof(float)) {
        if (stored) return;
        cross_modal_score_kernels().widen(data<BFloat16>(x) + begin * in.channels, in.channels,
                                          end - begin, x_stride, widened + chunk_begin * x_stride);
      }
    });
    add_by_frame(in, hidden_values, stride, first, first + rows, by_frame);
    add_outer(hidden_values, stride, rows, in.hidden,
              stored ? data<T>(x) + first * x_stride : widened, x_stride, in.channels,
              mutable_data<T>(of_map));
  }

  std::vector<double> score_sums(in.hidden, 0.0);
  for (size_t i = 0; i < partial.size(); i += in.hidden) {
    for (int64_t c = 0; c < in.hidden; ++c) score_sums[c] += partial[i + c];
  }
  double bias_sum = 0;
  for (int64_t row = 0; row < active; ++row) bias_sum += grad[row];
  std::vector<double> by_sample(in.samples * stride, 0.0), map_bias_sums(in.hidden, 0.0);
  for (int64_t f = 0; f < in.frames.count; ++f) {
    for (int64_t c = 0; c < in.hidden; ++c) {
      by_sample[in.sample_of_frame[f] * stride + c] += by_frame[f * in.hidden + c];
    }
  }
  for (int64_t b = 0; b < in.samples; ++b) {
    for (int64_t c = 0; c < in.hidden; ++c) map_bias_sums[c] += by_sample[b * stride + c];
  }

  const Tensor sample_sums = tensor_of<T>(by_sample, {in.samples, stride}, in.dtype);
  parallel_chunks(in.samples, kChunk, [&](int64_t begin, int64_t end) {
    of_query.form(data<T>(sample_sums) + begin * stride, stride, begin, end, local.data());
  });
  const Tensor query = padded(wide(in.query));
  Tensor of_asked = zeros({in.hidden, query.size(1)}, in.dtype);
  add_outer(data<T>(sample_sums), stride, in.samples, in.hidden, data<T>(query), query.size(1),
            in.query_dim, mutable_data<T>(of_asked));
  return {
      of_features.zeros_from(active),          of_query.zeros_from(in.samples),
      unpadded(of_map, in.channels),           tensor_of<T>(map_bias_sums, {in.hidden}, in.dtype),
      unpadded(of_asked, in.query_dim),        tensor_of<T>(score_sums, {1, in.hidden}, in.dtype),
      tensor_of<T>({bias_sum}, {1}, in.dtype),
  };
}

}  // namespace

ScoreGradients cross_modal_score_backward(const Tensor& grad_logits, const Tensor& features,
                                          const Tensor& offsets, const Tensor& query,
                                          const std::optional<Tensor>& lengths,
                                          const Tensor& map_weight, const Tensor& map_bias,
                                          const Tensor& query_weight, const Tensor& score_weight) {
  const Inputs in = check_inputs(features, offsets, query, lengths, map_weight, map_bias,
                                 query_weight, score_weight);
  check_operand(kOp, "grad_logits", grad_logits, in.rows, in.dtype);
  const Tensor grad = as_contiguous(grad_logits);
  Gradients out =
      in.dtype == ScalarType::Double ? backward<double>(grad, in) : backward<float>(grad, in);
  // All inputs have the features' dtype.
  std::apply(
      [&](auto&... gradient) { ((gradient = as_dtype(gradient, features.scalar_type())), ...); },
      out);
  std::get<5>(out) = torch::stable::reshape(std::get<5>(out), score_weight.sizes());
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) {
  m.impl("cross_modal_score", TORCH_BOX(&cross_modal_score));
  m.impl("cross_modal_score_backward", TORCH_BOX(&cross_modal_score_backward));
}

STABLE_TORCH_LIBRARY_IMPL(mesm_ops, CPU, m) {
  m.impl("cross_modal_score", TORCH_BOX(&cross_modal_score));
  m.impl("cross_modal_score_backward", TORCH_BOX(&cross_modal_score_backward));
}

}  // namespace mesm_ops
