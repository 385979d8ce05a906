#include "sparse_batch_norm.h"

#include "isa.h"
#include "wide.h"

namespace mesm_ops::MESM_ISA {
namespace {

// Rows that are summed in the type of computation before the sum is added in double. In float such
// a sum is off by at most 32 * 2^-24 = 2e-6 of the sum of magnitudes.
constexpr int64_t kRun = 32;
constexpr int kBlock = 4;  // vectors of columns whose sums stay in registers

// Runs f<V>(rows of x, rows of y, stride, first column, columns, rows) over blocks of V vectors of
// columns and runs of rows. The columns after the last whole vector come from padded copies.
template <class T, class F>
void each_run(const T* x, const T* y, int64_t rows, int64_t channels, const F& f) {
  constexpr int64_t kColumns = kWide<T>;
  for (int64_t at = 0; at < rows; at += kRun) {
    const int64_t count = rows - at < kRun ? rows - at : kRun;
    const T* xs = x + at * channels;
    const T* ys = y + at * channels;
    int64_t c = 0;
    for (; c + kBlock * kColumns <= channels; c += kBlock * kColumns) {
      f.template operator()<kBlock>(xs + c, ys + c, channels, c, kBlock * kColumns, at, count);
    }
    for (; c + kColumns <= channels; c += kColumns) {
      f.template operator()<1>(xs + c, ys + c, channels, c, kColumns, at, count);
    }
    if (c == channels) continue;
    const int64_t left =
        channels - c < kColumns ? channels - c : kColumns;  // gcc does not infer this bound
    T last[2][kRun * kColumns] = {};
    for (int64_t r = 0; r < count; ++r) {
      memcpy(last[0] + r * kColumns, xs + r * channels + c, sizeof(T) * left);
      memcpy(last[1] + r * kColumns, ys + r * channels + c, sizeof(T) * left);
    }
    f.template operator()<1>(last[0], last[1], kColumns, c, left, at, count);
  }
}

inline bool is_finite(double value) { return value - value == 0; }

// Two passes over a run: its mean up to rounding, then the sums of differences from this mean,
// which correct the mean, and of their squares. Runs are merged in double (Chan et al.), so neither
// many rows nor a mean far larger than the deviation cost precision.
template <class T>
void moments(const T* x, int64_t rows, int64_t channels, double* mean, double* squares) {
  using P = Compute<T>;
  for (int64_t c = 0; c < channels; ++c) mean[c] = squares[c] = 0;
  each_run(x, x, rows, channels,
           [&]<int kVectors>(const T* run, const T*, int64_t stride, int64_t first, int64_t columns,
                             int64_t before, int64_t count) {
             Vec<P> centre[kVectors] = {}, sum[kVectors] = {}, square[kVectors] = {};
             for (int64_t r = 0; r < count; ++r) {
#pragma GCC unroll 4
               for (int v = 0; v < kVectors; ++v) {
                 centre[v] += load_wide(run + r * stride + v * kWide<T>);
               }
             }
#pragma GCC unroll 4
             for (int v = 0; v < kVectors; ++v) centre[v] /= static_cast<P>(count);
             for (int64_t r = 0; r < count; ++r) {
#pragma GCC unroll 4
               for (int v = 0; v < kVectors; ++v) {
                 const Vec<P> difference = load_wide(run + r * stride + v * kWide<T>) - centre[v];
                 sum[v] += difference;
                 square[v] += difference * difference;
               }
             }
             P centres[kVectors * kWide<T>], sums[kVectors * kWide<T>];
             P squared[kVectors * kWide<T>];
             memcpy(centres, centre, sizeof(centres));
             memcpy(sums, sum, sizeof(sums));
             memcpy(squared, square, sizeof(squared));
             const double number = static_cast<double>(count);
             const double share = number / static_cast<double>(before + count);
             const double spread = static_cast<double>(before) * share;
             for (int64_t c = 0; c < columns; ++c) {
               const double off = sums[c] / number;
               double centre_here = centres[c] + off;
               double square_here = squared[c] - off * sums[c];
               if (!is_finite(centre_here)) {
                 centre_here = square_here = 0;
                 for (int64_t r = 0; r < count; ++r) centre_here += load(run[r * stride + c]);
                 centre_here /= number;
                 for (int64_t r = 0; r < count; ++r) {
                   const double difference = load(run[r * stride + c]) - centre_here;
                   square_here += difference * difference;
                 }
               }
               const double apart = centre_here - mean[first + c];
               if (is_finite(apart)) {
                 mean[first + c] += apart * share;
               } else {  // an infinity stays one
                 mean[first + c] = mean[first + c] * (1 - share) + centre_here * share;
               }
               squares[first + c] += square_here + apart * apart * spread;
             }
           });
}

// A NaN passes the ReLU, forward and backward, as in torch.
template <bool kRelu, class T, class P>
void normalize_rows(const T* x, int64_t rows, int64_t channels, const P* mean, const P* scale,
                    const P* shift, T* out) {
  for (int64_t r = 0; r < rows; ++r, x += channels, out += channels) {
    each_column<T>(channels, [&]<class V>(int64_t c) {
      const V y = (load_as<V>(x + c) - load_as<V>(mean + c)) * load_as<V>(scale + c) +
                  load_as<V>(shift + c);
      store_as<V>(out + c, kRelu ? (y < V{} ? V{} : y) : y);
    });
  }
}

template <class T, class P>
void normalize(const T* x, int64_t rows, int64_t channels, const P* mean, const P* scale,
               const P* shift, bool relu, T* out) {
  const auto run = relu ? normalize_rows<true, T, P> : normalize_rows<false, T, P>;
  run(x, rows, channels, mean, scale, shift, out);
}

template <bool kRelu, class V>
inline V masked(V grad, V centred, V scale, V shift) {
  return kRelu ? (centred * scale + shift <= V{} ? V{} : grad) : grad;
}

template <bool kRelu, class T, class P>
void sum_rows(const T* grad_out, const T* x, int64_t rows, int64_t channels, const P* mean,
              const P* scale, const P* shift, double* weight_sums, double* bias_sums) {
  for (int64_t c = 0; c < channels; ++c) weight_sums[c] = bias_sums[c] = 0;
  each_run(x, grad_out, rows, channels,
           [&]<int kVectors>(const T* run, const T* grad, int64_t stride, int64_t first,
                             int64_t columns, int64_t, int64_t count) {
             constexpr int kColumns = kVectors * kWide<T>;
             P padded[3][kColumns] = {};
             memcpy(padded[0], mean + first, sizeof(P) * columns);
             memcpy(padded[1], scale + first, sizeof(P) * columns);
             memcpy(padded[2], shift + first, sizeof(P) * columns);
             Vec<P> centre[kVectors], slope[kVectors], start[kVectors];
             memcpy(centre, padded[0], sizeof(centre));
             memcpy(slope, padded[1], sizeof(slope));
             memcpy(start, padded[2], sizeof(start));
             Vec<P> weight[kVectors] = {}, bias[kVectors] = {};
             for (int64_t r = 0; r < count; ++r) {
#pragma GCC unroll 4
               for (int v = 0; v < kVectors; ++v) {
                 const int64_t at = r * stride + v * kWide<T>;
                 const Vec<P> centred = load_wide(run + at) - centre[v];
                 const Vec<P> g =
                     masked<kRelu, Vec<P>>(load_wide(grad + at), centred, slope[v], start[v]);
                 weight[v] += g * centred;
                 bias[v] += g;
               }
             }
             P weights[kColumns], biases[kColumns];
             memcpy(weights, weight, sizeof(weights));
             memcpy(biases, bias, sizeof(biases));
             for (int64_t c = 0; c < columns; ++c) {
               weight_sums[first + c] += weights[c];
               bias_sums[first + c] += biases[c];
             }
           });
}

template <class T, class P>
void backward_sums(const T* grad_out, const T* x, int64_t rows, int64_t channels, const P* mean,
                   const P* scale, const P* shift, bool relu, double* weight_sums,
                   double* bias_sums) {
  const auto run = relu ? sum_rows<true, T, P> : sum_rows<false, T, P>;
  run(grad_out, x, rows, channels, mean, scale, shift, weight_sums, bias_sums);
}

template <bool kRelu, bool kCentred, class T, class P>
void backward_rows(const T* grad_out, const T* x, int64_t rows, int64_t channels, const P* mean,
                   const P* scale, const P* shift, const P* intercept, const P* slope, T* out) {
  for (int64_t r = 0; r < rows; ++r, x += channels, grad_out += channels, out += channels) {
    each_column<T>(channels, [&]<class V>(int64_t c) {
      const V factor = load_as<V>(scale + c);
      const V centred = load_as<V>(x + c) - load_as<V>(mean + c);
      const V g =
          masked<kRelu, V>(load_as<V>(grad_out + c), centred, factor, load_as<V>(shift + c));
      if constexpr (kCentred) {
        store_as<V>(out + c,
                    factor * ((g - load_as<V>(intercept + c)) - load_as<V>(slope + c) * centred));
      } else {
        store_as<V>(out + c, factor * g);
      }
    });
  }
}

template <class T, class P>
void backward(const T* grad_out, const T* x, int64_t rows, int64_t channels, const P* mean,
              const P* scale, const P* shift, const P* intercept, const P* slope, bool relu,
              T* grad) {
  const auto known = relu ? backward_rows<true, false, T, P> : backward_rows<false, false, T, P>;
  const auto of_batch = relu ? backward_rows<true, true, T, P> : backward_rows<false, true, T, P>;
  const auto run = slope == nullptr ? known : of_batch;
  run(grad_out, x, rows, channels, mean, scale, shift, intercept, slope, grad);
}

}  // namespace

extern constinit const SparseBatchNormKernels sparse_batch_norm = {
    {moments<float>, normalize<float, float>, backward_sums<float, float>, backward<float, float>},
    {moments<BFloat16>, normalize<BFloat16, float>, backward_sums<BFloat16, float>,
     backward<BFloat16, float>},
    {moments<double>, normalize<double, double>, backward_sums<double, double>,
     backward<double, double>},
};

}  // namespace mesm_ops::MESM_ISA
