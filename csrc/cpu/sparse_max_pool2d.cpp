#include "sparse_max_pool2d.h"

#include "isa.h"
#include "scalar.h"

namespace mesm_ops::MESM_ISA {
namespace {

int64_t windows(const int32_t* sites, int64_t begin, int64_t end, int64_t height, int64_t width,
                int32_t* out_sites, int32_t* windows) {
  const int64_t out_width = width / 2;
  int64_t number = 0;
  int64_t row = begin;
  for (int64_t out_y = 0; out_y < height / 2 && row < end; ++out_y) {
    if (sites[row] >= (2 * out_y + 2) * width) {
      // Skip empty lines of windows at once: a map may be far larger than its active sites.
      out_y = sites[row] / width / 2 - 1;
      continue;
    }
    // Merge the two lines of sites by output column.
    int64_t upper = row;
    while (row < end && sites[row] < (2 * out_y + 1) * width) ++row;
    const int64_t upper_end = row;
    int64_t lower = row;
    while (row < end && sites[row] < (2 * out_y + 2) * width) ++row;
    const int64_t lower_end = row;
    const auto column = [&](int64_t at, int64_t stop, int64_t line) {
      return at < stop ? (sites[at] - line * width) / 2 : out_width;
    };
    for (;;) {
      const int64_t upper_x = column(upper, upper_end, 2 * out_y);
      const int64_t lower_x = column(lower, lower_end, 2 * out_y + 1);
      const int64_t out_x = upper_x < lower_x ? upper_x : lower_x;
      if (out_x >= out_width) break;
      int32_t window[kWindow] = {-1, -1, -1, -1};
      int size = 0;
      for (; column(upper, upper_end, 2 * out_y) == out_x; ++upper) {
        window[size++] = static_cast<int32_t>(upper);
      }
      for (; column(lower, lower_end, 2 * out_y + 1) == out_x; ++lower) {
        window[size++] = static_cast<int32_t>(lower);
      }
      if (out_sites != nullptr) {
        out_sites[number] = static_cast<int32_t>(out_y * out_width + out_x);
        for (int k = 0; k < kWindow; ++k) windows[number * kWindow + k] = window[k];
      }
      ++number;
    }
  }
  return number;
}

// The first of equals wins, and so does the first NaN.
template <class T>
void maxima(const T* features, int64_t channels, const int32_t* windows, int64_t count, T* out,
            int32_t* argmax) {
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* window = windows + i * kWindow;
    T* best = out + i * channels;
    int32_t* from = argmax + i * channels;
    for (int64_t c = 0; c < channels; ++c) {
      best[c] = features[window[0] * channels + c];
      from[c] = window[0];
    }
    for (int k = 1; k < kWindow && window[k] >= 0; ++k) {
      const T* row = features + window[k] * channels;
      for (int64_t c = 0; c < channels; ++c) {
        const Compute<T> value = load(row[c]);
        const Compute<T> held = load(best[c]);
        const bool wins = (value > held) | ((value != value) & (held == held));
        best[c] = wins ? row[c] : best[c];
        from[c] = wins ? window[k] : from[c];
      }
    }
  }
}

template <class T>
bool backward(const T* grad_out, const int32_t* argmax, int64_t channels, int64_t count,
              int64_t in_rows, T* grad_in) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t row = argmax[i * channels + c];
      if (row == -1) continue;
      if (row < 0 || row >= in_rows) return false;
      T& to = grad_in[row * channels + c];
      store(to, load(to) + load(grad_out[i * channels + c]));
    }
  }
  return true;
}

}  // namespace

extern constinit const SparseMaxPool2dKernels sparse_max_pool2d = {
    windows,
    {maxima<float>, backward<float>},
    {maxima<BFloat16>, backward<BFloat16>},
    {maxima<double>, backward<double>},
};

}  // namespace mesm_ops::MESM_ISA
