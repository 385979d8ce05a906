#include "kernels/mtcnn_pnet.h"

#include <tuple>

#include "dispatch.h"
#include "scratch.h"
#include "tensor_checks.h"

MESM_KERNELS(MtcnnPnetKernels, mtcnn_pnet)

namespace mesm_ops {
namespace {

constexpr const char* kOp = "mtcnn_pnet";

const float* weights_of(const char* name, const Tensor& t, int64_t elements) {
  MESM_CHECK(t.is_cpu() && t.scalar_type() == ScalarType::Float && t.numel() == elements, kOp, ": ",
             name, " must be float32 on the CPU with ", elements, " elements");
  MESM_CHECK(t.is_contiguous(), kOp, ": ", name, " must be contiguous");
  return data<float>(t);
}

// images (N, H, W, 3): the probability of a face (N, h, w), and offsets (N, 4, h, w).
std::tuple<Tensor, Tensor> mtcnn_pnet(const Tensor& images, const Tensor& conv1,
                                      const Tensor& bias1, const Tensor& slope1,
                                      const Tensor& conv2, const Tensor& bias2,
                                      const Tensor& slope2, const Tensor& conv3,
                                      const Tensor& bias3, const Tensor& slope3, const Tensor& face,
                                      const Tensor& face_bias, const Tensor& box,
                                      const Tensor& box_bias) {
  MESM_CHECK(images.is_cpu() && images.dim() == 4 && images.size(3) == kPNetIn &&
                 images.scalar_type() == ScalarType::Float,
             kOp, ": images must be (N, H, W, 3) float32 on the CPU");
  MESM_CHECK(images.size(1) >= kPNetWindow && images.size(2) >= kPNetWindow, kOp,
             ": images must have at least ", kPNetWindow, " x ", kPNetWindow, " pixels, got ",
             images.size(1), " x ", images.size(2));
  const PNetWeights weights = {
      weights_of("conv1", conv1, kPNetFirst * kPNetIn * kPNetTaps),
      weights_of("bias1", bias1, kPNetFirst),
      weights_of("slope1", slope1, kPNetFirst),
      weights_of("conv2", conv2, kPNetSecond * kPNetFirst * kPNetTaps),
      weights_of("bias2", bias2, kPNetSecond),
      weights_of("slope2", slope2, kPNetSecond),
      weights_of("conv3", conv3, kPNetThird * kPNetSecond * kPNetTaps),
      weights_of("bias3", bias3, kPNetThird),
      weights_of("slope3", slope3, kPNetThird),
      weights_of("face", face, 2 * kPNetThird),
      weights_of("face_bias", face_bias, 2),
      weights_of("box", box, 4 * kPNetThird),
      weights_of("box_bias", box_bias, 4),
  };
  const MtcnnPnetKernels& kernels = mtcnn_pnet_kernels();
  float* packed = scratch<float, kWeightSlot>(kernels.packed_size);
  kernels.pack(weights, packed);
  const Tensor pixels = as_contiguous(images);
  const int64_t number = images.size(0);
  const PNetSizes sizes = pnet_sizes(images.size(1), images.size(2));
  const int64_t area = sizes.out_height * sizes.out_width;
  Tensor probability = empty({number, sizes.out_height, sizes.out_width}, ScalarType::Float);
  Tensor offsets = empty({number, 4, sizes.out_height, sizes.out_width}, ScalarType::Float);
  const float* from = data<float>(pixels);
  float* to = mutable_data<float>(probability);
  float* offset = mutable_data<float>(offsets);
  // A task begins with four rows that the one before reckons with, too.
  constexpr int64_t kRows = 64;
  const int64_t parts = (sizes.out_height + kRows - 1) / kRows;
  parallel(number * parts, [&](int64_t task) {
    const int64_t n = task / parts;
    const int64_t part = task % parts;
    kernels.rows(from + n * sizes.height * sizes.width * kPNetIn, sizes, packed,
                 sizes.out_height * part / parts, sizes.out_height * (part + 1) / parts,
                 scratch<float>(kernels.scratch_size(sizes.width)), to + n * area,
                 offset + n * 4 * area);
  });
  return {probability, offsets};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) { m.impl("mtcnn_pnet", TORCH_BOX(&mtcnn_pnet)); }

}  // namespace mesm_ops
