// Kernels of mtcnn_pnet, MTCNN's first network: all its layers over rows that stay in the cache.
#pragma once

#include <stdint.h>

namespace mesm_ops {

// The network's widths: conv1 (3x3) with PReLU, pool 2x2, conv2 and conv3 (3x3) with PReLU, and
// 1x1 for two logits and four offsets.
constexpr int kPNetIn = 3;
constexpr int kPNetFirst = 10;
constexpr int kPNetSecond = 16;
constexpr int kPNetThird = 32;
constexpr int kPNetOut = 6;
constexpr int kPNetTaps = 9;
constexpr int64_t kPNetWindow = 12;

// (out, in, 3, 3) weights as PyTorch has them, biases and PReLU's slopes (out).
struct PNetWeights {
  const float *conv1, *bias1, *slope1, *conv2, *bias2, *slope2, *conv3, *bias3, *slope3;
  const float *face, *face_bias, *box, *box_bias;
};

// Maps after each layer of an image of such a size.
struct PNetSizes {
  int64_t height, width, first_height, first_width, pooled_height, pooled_width, out_height,
      out_width;
};

constexpr PNetSizes pnet_sizes(int64_t height, int64_t width) {
  const int64_t pooled_height = (height - 1) / 2;
  const int64_t pooled_width = (width - 1) / 2;
  return {height,        width,        height - 2,        width - 2,
          pooled_height, pooled_width, pooled_height - 4, pooled_width - 4};
}

struct MtcnnPnetKernels {
  // Floats that pack() writes.
  int64_t packed_size;
  void (*pack)(const PNetWeights& weights, float* packed);

  // Floats of working memory that rows() needs.
  int64_t (*scratch_size)(int64_t width);

  // Rows [begin, end) of the maps of one image (height, width, 3): the probability of a face
  // (out_height, out_width) and the box's offsets (4, out_height, out_width).
  void (*rows)(const float* image, const PNetSizes& sizes, const float* packed, int64_t begin,
               int64_t end, float* scratch, float* probability, float* offsets);
};

}  // namespace mesm_ops
