#include "prelu_max_pool2d.h"

#include "isa.h"
#include "vec.h"

namespace mesm_ops::MESM_ISA {
namespace {

template <class V>
inline V larger(V a, V b) {
  return a > b ? a : b;
}

template <class V>
inline V smaller(V a, V b) {
  return a < b ? a : b;
}

// PReLU's largest value over a window is that of the largest or of the smallest value, whatever
// the slope's sign: on each side of zero PReLU only rises or only falls.
template <class V, class Load>
inline V pooled(const Load& load, int64_t rows, int64_t columns, int64_t stride, int64_t channels,
                V slope) {
  V most = load(0);
  V least = most;
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < columns; ++x) {
      const V value = load(y * stride + x * channels);
      most = larger(most, value);
      least = smaller(least, value);
    }
  }
  const V zero = {};
  return larger(most > zero ? most : most * slope, least > zero ? least : least * slope);
}

void image(const float* maps, const float* slopes, const PooledMaps& sizes, float* out) {
  constexpr int64_t kStep = kLanes<float>;
  const int64_t channels = sizes.channels;
  const int64_t stride = sizes.width * channels;
  for (int64_t y = 0; y < sizes.out_height; ++y) {
    const int64_t top = y * sizes.stride;
    const int64_t high = smaller(sizes.window, sizes.height - top);
    for (int64_t x = 0; x < sizes.out_width; ++x) {
      const int64_t left = x * sizes.stride;
      const int64_t wide = smaller(sizes.window, sizes.width - left);
      const float* from = maps + top * stride + left * channels;
      float* to = out + (y * sizes.out_width + x) * channels;
      if (channels < kStep) {
        for (int64_t c = 0; c < channels; ++c) {
          const auto load = [&](int64_t at) { return from[c + at]; };
          to[c] = pooled<float>(load, high, wide, stride, channels, slopes[c]);
        }
        continue;
      }
      for (int64_t c = 0; c < channels; c += kStep) {
        // The last vector ends with the channels, and gives some again that are there.
        const int64_t first = smaller(c, channels - kStep);
        const auto load = [&](int64_t at) { return load_vec(from + first + at); };
        const Vec<float> slope = load_vec(slopes + first);
        store_vec(to + first, pooled<Vec<float>>(load, high, wide, stride, channels, slope));
      }
    }
  }
}

}  // namespace

extern constinit const PreluMaxPool2dKernels prelu_max_pool2d = {image};

}  // namespace mesm_ops::MESM_ISA
