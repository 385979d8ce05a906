#include "mtcnn_pnet.h"

#include <float.h>

#include "isa.h"
#include "tanh.h"
#include "vec.h"

namespace mesm_ops::MESM_ISA {
namespace {

// Maps are rows of channels: a vector is neighbouring columns of one channel, so that few channels
// waste no lanes. A tile is some output channels times some vectors, its sums in registers; its
// operands are rows at three shifts, and weights that are spread to all lanes.
constexpr int64_t kStep = kLanes<float>;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileChannels = 8, kTileFirst = 5, kVectors = 3, kVectorsFirst = 4;
#else
constexpr int kTileChannels = 4, kTileFirst = 5, kVectors = 3, kVectorsFirst = 2;
#endif

// Columns of a row and what loads and stores go beyond.
inline int64_t stride_of(int64_t width) { return (width + kStep - 1) / kStep * kStep + 2 * kStep; }

// A layer's packed weights: of each group of Tile channels, for every input channel and tap, the
// Tile weights; then its biases, then its slopes.
template <int In, int Out, int Taps>
constexpr int64_t kLayer = Out * (In * Taps + 2);

constexpr int64_t kSecondAt = kLayer<kPNetIn, kPNetFirst, kPNetTaps>;
constexpr int64_t kThirdAt = kSecondAt + kLayer<kPNetFirst, kPNetSecond, kPNetTaps>;
constexpr int64_t kHeadsAt = kThirdAt + kLayer<kPNetSecond, kPNetThird, kPNetTaps>;
constexpr int64_t kPacked = kHeadsAt + kLayer<kPNetThird, kPNetOut, 1>;

void pack_layer(const float* weights, const float* bias, const float* slope, int in, int out,
                int tile, float* packed) {
  for (int first = 0; first < out; first += tile) {
    for (int k = 0; k < in * kPNetTaps; ++k) {
      for (int o = 0; o < tile; ++o) *packed++ = weights[(first + o) * in * kPNetTaps + k];
    }
    for (int o = 0; o < tile; ++o) *packed++ = bias[first + o];
    for (int o = 0; o < tile; ++o) *packed++ = slope[first + o];
  }
}

void pack(const PNetWeights& w, float* packed) {
  pack_layer(w.conv1, w.bias1, w.slope1, kPNetIn, kPNetFirst, kTileFirst, packed);
  pack_layer(w.conv2, w.bias2, w.slope2, kPNetFirst, kPNetSecond, kTileChannels,
             packed + kSecondAt);
  pack_layer(w.conv3, w.bias3, w.slope3, kPNetSecond, kPNetThird, kTileChannels, packed + kThirdAt);
  float* heads = packed + kHeadsAt;
  for (int k = 0; k < kPNetThird; ++k) {
    for (int o = 0; o < 2; ++o) *heads++ = w.face[o * kPNetThird + k];
    for (int o = 0; o < 4; ++o) *heads++ = w.box[o * kPNetThird + k];
  }
  for (int o = 0; o < 2; ++o) *heads++ = w.face_bias[o];
  for (int o = 0; o < 4; ++o) *heads++ = w.box_bias[o];
  for (int o = 0; o < kPNetOut; ++o) *heads++ = 1;  // slopes that change nothing
}

// Tile channels of V vectors of columns. rows: of the input, at the first column.
template <int In, int Tile, int Side, int V>
inline void tile_of(const float* const* rows, int64_t stride, const float* packed, float* out,
                    int64_t out_stride) {
  Vec<float> sum[Tile][V];
  const float* bias = packed + In * Side * Side * Tile;
#pragma GCC unroll 8
  for (int o = 0; o < Tile; ++o) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[o][v] = Vec<float>{} + bias[o];
  }
  for (int64_t i = 0; i < In; ++i) {
#pragma GCC unroll 3
    for (int y = 0; y < Side; ++y) {
      const float* row = rows[y] + i * stride;
#pragma GCC unroll 3
      for (int x = 0; x < Side; ++x, packed += Tile) {
        Vec<float> value[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) value[v] = load_vec(row + x + v * kStep);
#pragma GCC unroll 8
        for (int o = 0; o < Tile; ++o) {
          const Vec<float> weight = Vec<float>{} + packed[o];
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) sum[o][v] += weight * value[v];
        }
      }
    }
  }
  const float* slope = bias + Tile;
#pragma GCC unroll 8
  for (int o = 0; o < Tile; ++o) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const Vec<float> value = sum[o][v];
      store_vec(out + o * out_stride + v * kStep, value > 0.0f ? value : value * slope[o]);
    }
  }
}

// All channels of one row of at least `width` columns; writes whole vectors.
template <int In, int Out, int Tile, int Side, int V>
void convolve(const float* const* rows, int64_t stride, const float* packed, int64_t width,
              float* out, int64_t out_stride) {
  constexpr int64_t kGroup = kLayer<In, Tile, Side * Side>;
  for (int64_t x = 0; x < width;) {
    const int64_t left = (width - x + kStep - 1) / kStep;
    const float* at[Side];
    for (int y = 0; y < Side; ++y) at[y] = rows[y] + x;
    const int64_t vectors = left < V ? left : V;
    for (int64_t first = 0; first < Out; first += Tile) {
      const float* weights = packed + first / Tile * kGroup;
      float* to = out + first * out_stride + x;
      if (vectors == V) {
        tile_of<In, Tile, Side, V>(at, stride, weights, to, out_stride);
      } else if (V > 2 && vectors == 2) {
        tile_of<In, Tile, Side, 2>(at, stride, weights, to, out_stride);
      } else if (V > 3 && vectors == 3) {
        tile_of<In, Tile, Side, 3>(at, stride, weights, to, out_stride);
      } else {
        tile_of<In, Tile, Side, 1>(at, stride, weights, to, out_stride);
      }
    }
    x += vectors * kStep;
  }
}

// Working memory of one task: rings of rows, each row of all channels.
constexpr int64_t kImageRows = 4, kPooledRows = 3, kSecondRows = 3;

int64_t scratch_size(int64_t width) {
  const int64_t stride = stride_of(width);
  const int64_t pooled = stride_of((width - 1) / 2);
  return stride * (kImageRows * kPNetIn + 2 * kPNetFirst) +
         pooled * (kPooledRows * kPNetFirst + kSecondRows * kPNetSecond + kPNetThird + kPNetOut);
}

// 1 / (1 + e^x).
inline Vec<float> falling(Vec<float> x) {
  const Vec<float> magnitude = x < 0.0f ? -x : x;
  const Vec<float> power = exp_vec(magnitude < 40.0f ? magnitude : Vec<float>{} + 40.0f);
  const Vec<float> small = 1.0f / (1.0f + power);
  return x < 0.0f ? power * small : small;
}

void rows(const float* image, const PNetSizes& sizes, const float* packed, int64_t begin,
          int64_t end, float* scratch, float* probability, float* offsets) {
  const int64_t stride = stride_of(sizes.width);
  const int64_t pooled_stride = stride_of(sizes.pooled_width);
  // Columns beyond a row's end are reckoned with, never used: no slow or invalid numbers there.
  for (int64_t i = 0, n = scratch_size(sizes.width); i < n; ++i) scratch[i] = 0;
  float* image_rows = scratch;
  float* first_rows = image_rows + kImageRows * kPNetIn * stride;
  float* pooled_rows = first_rows + 2 * kPNetFirst * stride;
  float* second_rows = pooled_rows + kPooledRows * kPNetFirst * pooled_stride;
  float* third_row = second_rows + kSecondRows * kPNetSecond * pooled_stride;
  float* out_row = third_row + kPNetThird * pooled_stride;

  int64_t loaded = 2 * begin;  // next row of the image
  const auto image_row = [&](int64_t y) { return image_rows + y % kImageRows * kPNetIn * stride; };
  const auto load_until = [&](int64_t last) {
    for (; loaded < last; ++loaded) {
      float* to = image_row(loaded);
      const float* from = image + loaded * sizes.width * kPNetIn;
      for (int64_t x = 0; x < sizes.width; ++x) {
        for (int c = 0; c < kPNetIn; ++c) to[c * stride + x] = from[kPNetIn * x + c];
      }
    }
  };
  const auto first = [&](int64_t y, float* to) {
    load_until(y + 3);
    const float* const from[] = {image_row(y), image_row(y + 1), image_row(y + 2)};
    convolve<kPNetIn, kPNetFirst, kTileFirst, 3, kVectorsFirst>(from, stride, packed,
                                                                sizes.first_width, to, stride);
  };
  const auto pooled_row = [&](int64_t y) {
    return pooled_rows + y % kPooledRows * kPNetFirst * pooled_stride;
  };
  const auto second_row = [&](int64_t y) {
    return second_rows + y % kSecondRows * kPNetSecond * pooled_stride;
  };
  int64_t pooled = begin;  // next row
  const auto pool_until = [&](int64_t last) {
    for (; pooled < last; ++pooled) {
      float* upper = first_rows;
      float* lower = first_rows + kPNetFirst * stride;
      first(2 * pooled, upper);
      const bool pair = 2 * pooled + 1 < sizes.first_height;
      if (pair) first(2 * pooled + 1, lower);
      if (!pair) lower = upper;
      float* to = pooled_row(pooled);
      for (int c = 0; c < kPNetFirst; ++c) {
        float* a = upper + c * stride;
        float* b = lower + c * stride;
        if (sizes.first_width % 2 != 0) a[sizes.first_width] = b[sizes.first_width] = -FLT_MAX;
        float* best = to + c * pooled_stride;
        for (int64_t x = 0; x < sizes.pooled_width; ++x) {
          const float above = a[2 * x] > a[2 * x + 1] ? a[2 * x] : a[2 * x + 1];
          const float below = b[2 * x] > b[2 * x + 1] ? b[2 * x] : b[2 * x + 1];
          best[x] = above > below ? above : below;
        }
      }
    }
  };
  int64_t convolved = begin;  // next row of the second convolution
  for (int64_t y = begin; y < end; ++y) {
    for (; convolved < y + 3; ++convolved) {
      pool_until(convolved + 3);
      const float* const from[] = {pooled_row(convolved), pooled_row(convolved + 1),
                                   pooled_row(convolved + 2)};
      convolve<kPNetFirst, kPNetSecond, kTileChannels, 3, kVectors>(
          from, pooled_stride, packed + kSecondAt, sizes.pooled_width - 2, second_row(convolved),
          pooled_stride);
    }
    const float* const from[] = {second_row(y), second_row(y + 1), second_row(y + 2)};
    convolve<kPNetSecond, kPNetThird, kTileChannels, 3, kVectors>(
        from, pooled_stride, packed + kThirdAt, sizes.out_width, third_row, pooled_stride);
    const float* const third[] = {third_row};
    convolve<kPNetThird, kPNetOut, kPNetOut, 1, 2>(third, pooled_stride, packed + kHeadsAt,
                                                   sizes.out_width, out_row, pooled_stride);
    const auto keep = [&](const float* row, float* map) {
      memcpy(map + y * sizes.out_width, row, sizes.out_width * sizeof(float));
    };
    float* no_face = out_row;
    float* face = out_row + pooled_stride;
    for (int64_t x = 0; x < sizes.out_width; x += kStep) {
      store_vec(face + x, falling(load_vec(no_face + x) - load_vec(face + x)));
    }
    keep(face, probability);
    for (int o = 0; o < 4; ++o) {
      keep(out_row + (2 + o) * pooled_stride, offsets + o * sizes.out_height * sizes.out_width);
    }
  }
}

}  // namespace

extern constinit const MtcnnPnetKernels mtcnn_pnet = {kPacked, pack, scratch_size, rows};

}  // namespace mesm_ops::MESM_ISA
