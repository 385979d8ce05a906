#include "area_means.h"

#include "isa.h"
#include "vec.h"

namespace mesm_ops::MESM_ISA {
namespace {

// A pixel's three sums, and what stands after them.
typedef int32_t Pixel __attribute__((vector_size(16)));
constexpr int64_t kSpare = 4;

inline int64_t rounded_up(int64_t count) {
  constexpr int64_t kStep = kLanes<float>;
  return (count + kStep - 1) / kStep * kStep;
}

// Where the pixels that an output pixel covers begin and end.
inline int64_t first_of(int64_t at, int64_t length, int64_t size) { return at * length / size; }
inline int64_t last_of(int64_t at, int64_t length, int64_t size) {
  return ((at + 1) * length + size - 1) / size;
}

int64_t scratch_size(int64_t width, int64_t out_width) {
  return rounded_up(kColours * width + kSpare) + 2 * rounded_up(kColours * out_width + kSpare) +
         2 * out_width;
}

void rows(const AreaPart& part, int64_t begin, int64_t end, int32_t* scratch, float* out) {
  const int64_t elements = kColours * part.width;
  const int64_t out_elements = kColours * part.out_width;
  int32_t* line = scratch;                               // sums of columns of the part
  int32_t* sums = line + rounded_up(elements + kSpare);  // of the row's pixels
  float* columns = reinterpret_cast<float*>(sums + rounded_up(out_elements + kSpare));
  int32_t* edges = reinterpret_cast<int32_t*>(columns + rounded_up(out_elements + kSpare));
  for (int64_t x = 0; x < part.out_width; ++x) {
    const int64_t first = first_of(x, part.width, part.out_width);
    const int64_t last = last_of(x, part.width, part.out_width);
    edges[2 * x] = static_cast<int32_t>(first);
    edges[2 * x + 1] = static_cast<int32_t>(last);
    for (int c = 0; c < kColours; ++c) columns[kColours * x + c] = static_cast<float>(last - first);
  }
  for (int64_t i = elements; i < elements + kSpare; ++i) line[i] = 0;
  const int64_t stride = kColours * part.frame_width;
  const uint8_t* corner = part.frame + part.y0 * stride + kColours * part.x0;
  for (int64_t y = begin; y < end; ++y) {
    const int64_t top = first_of(y, part.height, part.out_height);
    const int64_t bottom = last_of(y, part.height, part.out_height);
    const uint8_t* pixels = corner + top * stride;
    int64_t row = top;
    if (bottom - top >= 2) {
      for (int64_t i = 0; i < elements; ++i) line[i] = pixels[i] + pixels[i + stride];
      row += 2;
    } else {
      for (int64_t i = 0; i < elements; ++i) line[i] = pixels[i];
      row += 1;
    }
    for (pixels = corner + row * stride; row < bottom; ++row, pixels += stride) {
      for (int64_t i = 0; i < elements; ++i) line[i] += pixels[i];
    }
    for (int64_t x = 0; x < part.out_width; ++x) {
      Pixel sum = {};
      for (int64_t at = edges[2 * x]; at < edges[2 * x + 1]; ++at) {
        Pixel pixel;
        memcpy(&pixel, line + kColours * at, sizeof(pixel));
        sum += pixel;
      }
      // The fourth is overwritten by the next pixel's first.
      memcpy(sums + kColours * x, &sum, sizeof(sum));
    }
    // Exact up to the divisions, as long as the sums fit into 24 bits.
    const float high = static_cast<float>(bottom - top);
    const float shift = high * (255.0f / 256.0f);
    float* to = out + y * out_elements;
    int64_t i = 0;
    for (; i + kLanes<float> <= out_elements; i += kLanes<float>) {
      const Vec<float> sum = __builtin_convertvector(load_vec(sums + i), Vec<float>);
      const Vec<float> wide = load_vec(columns + i);
      store_vec(to + i, (sum * (1.0f / 128.0f) - wide * shift) / high / wide);
    }
    for (; i < out_elements; ++i) {
      const float sum = static_cast<float>(sums[i]);
      to[i] = (sum * (1.0f / 128.0f) - columns[i] * shift) / high / columns[i];
    }
  }
}

}  // namespace

extern constinit const AreaMeansKernels area_means = {scratch_size, rows};

}  // namespace mesm_ops::MESM_ISA
