#include "sparse_max_pool2d.h"

#include "isa.h"
#include "wide.h"

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
    // Merge the two lines of sites by output column, without branches, which the processor could
    // not predict. A site of a later line has a column beyond the last.
    const int64_t first = 2 * out_y * width;
    int64_t upper = row;
    while (row < end && sites[row] < first + width) ++row;
    int64_t lower = row;
    while (row < end && sites[row] < first + 2 * width) ++row;
    const auto column = [&](int64_t at, int64_t line) {
      return at < end ? (sites[at] - line) >> 1 : out_width;
    };
    for (;;) {
      const int64_t upper_x = column(upper, first);
      const int64_t lower_x = column(lower, first + width);
      const int64_t out_x = upper_x < lower_x ? upper_x : lower_x;
      if (out_x >= out_width) break;
      const int64_t above = (upper_x == out_x) + (column(upper + 1, first) == out_x);
      const int64_t below = (lower_x == out_x) + (column(lower + 1, first + width) == out_x);
      if (out_sites != nullptr) {
        out_sites[number] = static_cast<int32_t>(out_y * out_width + out_x);
        for (int64_t k = 0; k < kWindow; ++k) {
          const int64_t site = k < above ? upper + k : lower + k - above;
          windows[number * kWindow + k] = static_cast<int32_t>(k < above + below ? site : -1);
        }
      }
      upper += above;
      lower += below;
      ++number;
    }
  }
  return number;
}

// Columns [begin, end) of one window. The first of equal values wins, and so does the first NaN.
template <class T>
void window_columns(const T* features, int64_t channels, const int32_t* window, int64_t begin,
                    int64_t end, T* best, int32_t* from) {
  for (int64_t c = begin; c < end; ++c) {
    int32_t winner = window[0];
    Compute<T> maximum = load(features[winner * channels + c]);
    for (int k = 1; k < kWindow && window[k] >= 0; ++k) {
      const Compute<T> value = load(features[window[k] * channels + c]);
      if (value <= maximum || maximum != maximum) continue;
      maximum = value;
      winner = window[k];
    }
    best[c] = features[winner * channels + c];
    if (from != nullptr) from[c] = winner;
  }
}

// Whole vectors of a window of kSize rows; returns the first remaining column.
template <int kSize, bool kArgmax, class T>
int64_t window_vectors(const T* features, int64_t channels, const int32_t* window, T* best,
                       int32_t* from) {
  const T* rows[kSize];
  for (int k = 0; k < kSize; ++k) rows[k] = features + window[k] * channels;
  int64_t c = 0;
  for (; c + kWide<T> <= channels; c += kWide<T>) {
    Vec<float> maximum = load_wide(rows[0] + c);
    Vec<int32_t> winner = Vec<int32_t>{} + window[0];
#pragma GCC unroll 4
    for (int k = 1; k < kSize; ++k) {
      const Vec<float> value = load_wide(rows[k] + c);
      const auto stays = (value <= maximum) | (maximum != maximum);
      maximum = stays ? maximum : value;
      if (kArgmax) winner = stays ? winner : Vec<int32_t>{} + window[k];
    }
    if constexpr (sizeof(T) == sizeof(float)) {
      store_vec(best + c, maximum);
    } else {  // the stored bits, also of a NaN
      const Halves bits = __builtin_convertvector((Words)maximum >> 16, Halves);
      memcpy(best + c, &bits, sizeof(bits));
    }
    if (kArgmax) store_vec(from + c, winner);
  }
  return c;
}

template <bool kArgmax, class T>
void maxima_rows(const T* features, int64_t channels, const int32_t* windows, int64_t count, T* out,
                 int32_t* argmax) {
  constexpr auto kOne = window_vectors<1, kArgmax, T>;
  constexpr auto kTwo = window_vectors<2, kArgmax, T>;
  constexpr auto kThree = window_vectors<3, kArgmax, T>;
  constexpr auto kFour = window_vectors<4, kArgmax, T>;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* window = windows + i * kWindow;
    T* best = out + i * channels;
    int32_t* from = kArgmax ? argmax + i * channels : nullptr;
    const auto run = window[1] < 0 ? kOne : window[2] < 0 ? kTwo : window[3] < 0 ? kThree : kFour;
    const int64_t done = run(features, channels, window, best, from);
    window_columns(features, channels, window, done, channels, best, from);
  }
}

template <class T>
void maxima(const T* features, int64_t channels, const int32_t* windows, int64_t count, T* out,
            int32_t* argmax) {
  const auto run = argmax != nullptr ? maxima_rows<true, T> : maxima_rows<false, T>;
  run(features, channels, windows, count, out, argmax);
}
template <>
void maxima(const double* features, int64_t channels, const int32_t* windows, int64_t count,
            double* out, int32_t* argmax) {
  for (int64_t i = 0; i < count; ++i) {
    window_columns(features, channels, windows + i * kWindow, 0, channels, out + i * channels,
                   argmax != nullptr ? argmax + i * channels : nullptr);
  }
}

// The rows that an output's first columns name: a window has four at most.
struct Sources {
  int32_t rows[kWindow];
  int number = 0;

  bool has(int32_t row) const {
    bool found = false;
    for (int k = 0; k < number; ++k) found |= rows[k] == row;
    return found;
  }
};

// Columns [begin, end) whose row is not among the sources.
template <class T>
bool add_columns(const T* grad, const int32_t* argmax, int64_t channels, int64_t begin, int64_t end,
                 int64_t in_rows, const Sources& sources, T* grad_in) {
  for (int64_t c = begin; c < end; ++c) {
    const int32_t row = argmax[c];
    if (row == -1 || sources.has(row)) continue;
    if (row < 0 || row >= in_rows) return false;
    T& to = grad_in[row * channels + c];
    store(to, load(to) + load(grad[c]));
  }
  return true;
}

// Columns [0, end) of one output, whole vectors: each source gets the columns that name its row.
template <class T>
bool add_vectors(const T* grad, const int32_t* argmax, int64_t channels, int64_t end,
                 int64_t in_rows, T* grad_in) {
  Sources sources;
  for (int64_t c = 0; c < kWide<T> && sources.number < kWindow; ++c) {
    const int32_t row = argmax[c];
    if (row >= 0 && row < in_rows && !sources.has(row)) sources.rows[sources.number++] = row;
  }
  Vec<int32_t> missed = {};
  for (int64_t c = 0; c < end; c += kWide<T>) {
    const Vec<int32_t> from = load_vec(argmax + c);
    const Vec<int32_t> value = (Vec<int32_t>)load_wide(grad + c);
    Vec<int32_t> served = {};
    for (int k = 0; k < sources.number; ++k) {
      const Vec<int32_t> chosen = from == sources.rows[k];
      T* to = grad_in + sources.rows[k] * channels + c;
      store_wide(to, load_wide(to) + (Vec<float>)(value & chosen));
      served |= chosen;
    }
    missed |= ~served;
  }
  bool any = false;
  for (int i = 0; i < kWide<T>; ++i) any |= missed[i] != 0;
  return !any || add_columns(grad, argmax, channels, 0, end, in_rows, sources, grad_in);
}

template <class T>
bool backward(const T* grad_out, const int32_t* argmax, int64_t channels, int64_t count,
              int64_t in_rows, T* grad_in) {
  for (int64_t i = 0; i < count; ++i) {
    const T* grad = grad_out + i * channels;
    const int32_t* from = argmax + i * channels;
    int64_t whole = 0;
    if constexpr (sizeof(Compute<T>) == sizeof(float)) {
      whole = channels / kWide<T> * kWide<T>;
      if (whole > 0 && !add_vectors(grad, from, channels, whole, in_rows, grad_in)) return false;
    }
    if (!add_columns(grad, from, channels, whole, channels, in_rows, {}, grad_in)) return false;
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
