#include "sparse_batch_norm.h"

#include "isa.h"
#include "scalar.h"

namespace mesm_ops::MESM_ISA {
namespace {

template <class T>
void moments(const T* x, int64_t rows, int64_t channels, double* mean, double* squares) {
  for (int64_t c = 0; c < channels; ++c) mean[c] = squares[c] = 0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < channels; ++c) mean[c] += load(x[r * channels + c]);
  }
  for (int64_t c = 0; c < channels; ++c) mean[c] /= rows;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < channels; ++c) {
      const double difference = load(x[r * channels + c]) - mean[c];
      squares[c] += difference * difference;
    }
  }
}

// A NaN passes the ReLU, forward and backward, as in torch.
template <bool kRelu, class T, class P>
void normalize_rows(const T* x, int64_t rows, int64_t channels, const P* mean, const P* scale,
                    const P* shift, T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* from = x + r * channels;
    T* to = out + r * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const P y = (load(from[c]) - mean[c]) * scale[c] + shift[c];
      store(to[c], kRelu && y < P(0) ? P(0) : y);
    }
  }
}

template <class T, class P>
void normalize(const T* x, int64_t rows, int64_t channels, const P* mean, const P* scale,
               const P* shift, bool relu, T* out) {
  const auto run = relu ? normalize_rows<true, T, P> : normalize_rows<false, T, P>;
  run(x, rows, channels, mean, scale, shift, out);
}

template <bool kRelu, class P>
inline P masked(P grad, P centred, P scale, P shift) {
  return kRelu && centred * scale + shift <= P(0) ? P(0) : grad;
}

template <bool kRelu, class T, class P>
void sum_rows(const T* grad_out, const T* x, int64_t rows, int64_t channels, const P* mean,
              const P* scale, const P* shift, double* weight_sums, double* bias_sums) {
  for (int64_t c = 0; c < channels; ++c) weight_sums[c] = bias_sums[c] = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const T* from = x + r * channels;
    const T* grad = grad_out + r * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const P centred = load(from[c]) - mean[c];
      const P g = masked<kRelu, P>(load(grad[c]), centred, scale[c], shift[c]);
      weight_sums[c] += static_cast<double>(g) * centred;
      bias_sums[c] += g;
    }
  }
}

template <class T, class P>
void backward_sums(const T* grad_out, const T* x, int64_t rows, int64_t channels, const P* mean,
                   const P* scale, const P* shift, bool relu, double* weight_sums,
                   double* bias_sums) {
  const auto run = relu ? sum_rows<true, T, P> : sum_rows<false, T, P>;
  run(grad_out, x, rows, channels, mean, scale, shift, weight_sums, bias_sums);
}

template <bool kRelu, class T, class P>
void backward_rows(const T* grad_out, const T* x, int64_t rows, int64_t channels, const P* mean,
                   const P* scale, const P* shift, const P* offset, const P* slope, T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* from = x + r * channels;
    const T* grad = grad_out + r * channels;
    T* to = out + r * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const P centred = load(from[c]) - mean[c];
      const P g = masked<kRelu, P>(load(grad[c]), centred, scale[c], shift[c]);
      store(to[c], scale[c] * ((g - offset[c]) - slope[c] * centred));
    }
  }
}

template <class T, class P>
void backward(const T* grad_out, const T* x, int64_t rows, int64_t channels, const P* mean,
              const P* scale, const P* shift, const P* offset, const P* slope, bool relu, T* grad) {
  const auto run = relu ? backward_rows<true, T, P> : backward_rows<false, T, P>;
  run(grad_out, x, rows, channels, mean, scale, shift, offset, slope, grad);
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
