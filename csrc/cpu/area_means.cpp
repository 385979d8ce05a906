#include "kernels/area_means.h"

#include "dispatch.h"
#include "scratch.h"
#include "tensor_checks.h"

MESM_KERNELS(AreaMeansKernels, area_means)

namespace mesm_ops {
namespace {

constexpr const char* kOp = "area_means";

// frames (F, H, W, 3) of bytes; boxes (N, 5) int32: frame, x0, y0, x1, y1. (N, height, width, 3).
Tensor area_means(const Tensor& frames, const Tensor& boxes, int64_t height, int64_t width) {
  MESM_CHECK(frames.is_cpu() && frames.dim() == 4 && frames.size(3) == kColours &&
                 frames.scalar_type() == ScalarType::Byte,
             kOp, ": frames must be (F, H, W, 3) uint8 on the CPU");
  MESM_CHECK(boxes.is_cpu() && boxes.dim() == 2 && boxes.size(1) == 5 &&
                 boxes.scalar_type() == ScalarType::Int,
             kOp, ": boxes must be (N, 5) int32 on the CPU");
  MESM_CHECK(height >= 1 && width >= 1 && height <= INT32_MAX && width <= INT32_MAX, kOp,
             ": height and width must be from 1 to 2^31 - 1, got ", height, " and ", width);
  const Tensor images = as_contiguous(frames);
  const Tensor places = as_contiguous(boxes);
  const int64_t number = boxes.size(0);
  const int64_t frame_height = frames.size(1);
  const int64_t frame_width = frames.size(2);
  const int32_t* box = data<int32_t>(places);
  for (int64_t n = 0; n < number; ++n) {
    const int32_t* b = box + 5 * n;
    MESM_CHECK(b[0] >= 0 && b[0] < frames.size(0) && b[1] >= 0 && b[1] < b[3] &&
                   b[3] <= frame_width && b[2] >= 0 && b[2] < b[4] && b[4] <= frame_height,
               kOp, ": box ", n, " must lie in one of ", frames.size(0), " frames of ",
               frame_height, " x ", frame_width, " pixels and not be empty, got frame ", b[0],
               ", x ", b[1], " to ", b[3], ", y ", b[2], " to ", b[4]);
  }
  Tensor out = empty({number, height, width, kColours}, ScalarType::Float);
  const uint8_t* pixels = data<uint8_t>(images);
  float* to = mutable_data<float>(out);
  const AreaMeansKernels& kernels = area_means_kernels();
  constexpr int64_t kRows = 32;  // a task's
  const int64_t parts = (height + kRows - 1) / kRows;
  parallel(number * parts, [&](int64_t task) {
    const int64_t n = task / parts;
    const int64_t begin = task % parts * kRows;
    const int32_t* b = box + 5 * n;
    const AreaPart part = {pixels + b[0] * frame_height * frame_width * kColours,
                           frame_width,
                           b[1],
                           b[2],
                           b[3] - b[1],
                           b[4] - b[2],
                           height,
                           width};
    int32_t* memory = scratch<int32_t>(kernels.scratch_size(part.width, width));
    kernels.rows(part, begin, std::min(height, begin + kRows), memory,
                 to + n * height * width * kColours);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cpp, CPU, m) { m.impl("area_means", TORCH_BOX(&area_means)); }

}  // namespace mesm_ops
