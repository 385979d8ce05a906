// Statistics of a batch's rows, and the affine map that normalises by these statistics.
#pragma once

#include <cmath>
#include <vector>

#include "dispatch.h"
#include "kernels/sparse_batch_norm.h"
#include "tensor_checks.h"

MESM_KERNELS(SparseBatchNormKernels, sparse_batch_norm)

namespace mesm_ops {

constexpr int64_t kStatisticsRows = 256;  // rows of a chunk; fixed, so that threads change no sum

template <class T>
const auto& norm_kernels() {
  return kernels_for<T>(sparse_batch_norm_kernels());
}

// Per channel (x - mean) * scale + shift.
template <class P>
struct Affine {
  std::vector<P> scale, shift;

  Affine(const Tensor& weight, const Tensor& bias, const P* var, double eps)
      : scale(weight.numel()), shift(data<P>(bias), data<P>(bias) + bias.numel()) {
    for (size_t c = 0; c < scale.size(); ++c) {
      scale[c] = static_cast<P>(data<P>(weight)[c] / std::sqrt(var[c] + eps));
    }
  }
};

// Mean and biased variance over the rows: per chunk, then merged in order (Chan et al.).
template <class T, class P>
void batch_moments(const SparseBatchNormKernelsOf<T, P>& kernels, const T* x, int64_t rows,
                   int64_t channels, P* mean, P* var) {
  const int64_t chunks = (rows + kStatisticsRows - 1) / kStatisticsRows;
  std::vector<double> means(chunks * channels), squares(chunks * channels);
  parallel_chunks(rows, kStatisticsRows, [&](int64_t begin, int64_t end) {
    const int64_t at = begin / kStatisticsRows * channels;
    kernels.moments(x + begin * channels, end - begin, channels, means.data() + at,
                    squares.data() + at);
  });
  for (int64_t c = 0; c < channels; ++c) {
    double count = 0, centre = 0, square = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      const double added =
          static_cast<double>(std::min(rows, (i + 1) * kStatisticsRows) - i * kStatisticsRows);
      const double mean_here = means[i * channels + c];
      const double difference = mean_here - centre;
      const double total = count + added;
      if (std::isfinite(difference)) {
        centre += difference * added / total;
      } else {  // an infinity stays one
        centre = centre * (count / total) + mean_here * (added / total);
      }
      square += squares[i * channels + c] + difference * difference * count * added / total;
      count = total;
    }
    mean[c] = static_cast<P>(centre);
    var[c] = rows > 0 ? static_cast<P>(square / rows) : P(0);
  }
}

// A variance may be NaN, which reaches the loss, but never negative.
template <class P>
void check_variances(const char* op, const char* name, const Tensor& var) {
  for (int64_t c = 0; c < var.numel(); ++c) {
    MESM_CHECK(!(data<P>(var)[c] < 0), op, ": ", name, " must not be negative, got ",
               data<P>(var)[c], " in channel ", c);
  }
}

// The terms that the gradient of a normalisation subtracts, from the sums of its two reductions.
template <class P>
struct NormGradient {
  Tensor weight, bias;              // gradients (C,), of dtype P
  std::vector<P> intercept, slope;  // 0 outside training

  NormGradient(const std::vector<double>& weight_parts, const std::vector<double>& bias_parts,
               int64_t channels, const P* var, double eps, bool training, int64_t rows)
      : weight(empty({channels}, scalar_type_of<P>())),
        bias(empty({channels}, scalar_type_of<P>())),
        intercept(channels, P(0)),
        slope(channels, P(0)) {
    std::vector<double> weight_sums(channels, 0.0), bias_sums(channels, 0.0);
    for (size_t i = 0; i < weight_parts.size(); i += channels) {
      for (int64_t c = 0; c < channels; ++c) {
        weight_sums[c] += weight_parts[i + c];
        bias_sums[c] += bias_parts[i + c];
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      const double variance = var[c] + eps;
      mutable_data<P>(weight)[c] = static_cast<P>(weight_sums[c] / std::sqrt(variance));
      mutable_data<P>(bias)[c] = static_cast<P>(bias_sums[c]);
      if (training && rows > 0) {
        intercept[c] = static_cast<P>(bias_sums[c] / rows);
        slope[c] = static_cast<P>(weight_sums[c] / variance / rows);
      }
    }
  }
};

}  // namespace mesm_ops
