// sparse_max_pool2d on CUDA: 2x2 windows, stride 2, over active sites only.
//
// A table of all windows (frame, y, x) takes the active rows; its lines, closed up by prefix sums,
// are the output in order. No atomics, and nothing is copied to the host: outputs are sized from
// shapes alone, so that a CUDA graph can capture the op.
#include <algorithm>
#include <cstdint>
#include <tuple>

#include "launch.cuh"
#include "rows.cuh"

namespace mesm_ops {
namespace {

constexpr const char* kOp = "sparse_max_pool2d";
constexpr int kWindow = 4;  // sites of a window, in their order

struct Shape {
  int64_t frames, rows, height, width;
  __host__ __device__ int64_t windows() const { return (height / 2) * (width / 2); }  // of a frame
};

__global__ void fill_windows(const int32_t* sites, const int32_t* offsets, Shape shape,
                             int4* windows) {
  const int64_t out_width = shape.width / 2;
  for (int64_t frame = blockIdx.x; frame < shape.frames; frame += gridDim.x) {
    const int64_t end = row_at(offsets, frame + 1, shape.rows);
    for (int64_t row = row_at(offsets, frame, shape.rows) + threadIdx.x; row < end;
         row += blockDim.x) {
      const int64_t site = sites[row];
      if (site < 0 || site >= shape.height * shape.width) continue;
      const int64_t y = site / shape.width;
      const int64_t x = site % shape.width;
      if (y / 2 >= shape.height / 2 || x / 2 >= out_width) continue;
      const int64_t window = frame * shape.windows() + y / 2 * out_width + x / 2;
      reinterpret_cast<int32_t*>(windows + window)[y % 2 * 2 + x % 2] = static_cast<int32_t>(row);
    }
  }
}

__device__ int is_active(int4 window) {
  return window.x >= 0 || window.y >= 0 || window.z >= 0 || window.w >= 0;
}

// Inclusive sum over the block's threads.
__device__ int32_t block_scan(int32_t value) {
  __shared__ int32_t sums[kThreads];
  sums[threadIdx.x] = value;
  __syncthreads();
  for (int step = 1; step < kThreads; step *= 2) {
    const int32_t added = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
    __syncthreads();
    sums[threadIdx.x] += added;
    __syncthreads();
  }
  const int32_t sum = sums[threadIdx.x];
  __syncthreads();
  return sum;
}

__device__ int32_t block_total(int32_t inclusive) {
  __shared__ int32_t total;
  if (threadIdx.x == kThreads - 1) total = inclusive;
  __syncthreads();
  const int32_t sum = total;
  __syncthreads();
  return sum;
}

// out_offsets[frame + 1] = active windows of the frame, not yet summed up.
__global__ void count_windows(const int4* windows, Shape shape, int32_t* out_offsets) {
  for (int64_t frame = blockIdx.x; frame < shape.frames; frame += gridDim.x) {
    int32_t mine = 0;
    for (int64_t i = threadIdx.x; i < shape.windows(); i += blockDim.x) {
      mine += is_active(windows[frame * shape.windows() + i]);
    }
    const int32_t total = block_total(block_scan(mine));
    if (threadIdx.x == 0) out_offsets[frame + 1] = total;
  }
}

// One block turns the counts into offsets.
__global__ void sum_offsets(int64_t frames, int32_t* out_offsets) {
  int32_t before = 0;
  if (threadIdx.x == 0) out_offsets[0] = 0;
  for (int64_t first = 0; first < frames; first += blockDim.x) {
    const int64_t frame = first + threadIdx.x;
    const int32_t sum = block_scan(frame < frames ? out_offsets[frame + 1] : 0);
    if (frame < frames) out_offsets[frame + 1] = before + sum;
    before += block_total(sum);
  }
}

// source[i] = the window that output row i is made from.
__global__ void place_windows(const int4* windows, const int32_t* out_offsets, Shape shape,
                              int64_t out_rows, int64_t* source) {
  for (int64_t frame = blockIdx.x; frame < shape.frames; frame += gridDim.x) {
    int64_t before = out_offsets[frame];
    for (int64_t first = 0; first < shape.windows(); first += blockDim.x) {
      const int64_t i = first + threadIdx.x;
      const int64_t window = frame * shape.windows() + i;
      const int32_t active = i < shape.windows() ? is_active(windows[window]) : 0;
      const int32_t sum = block_scan(active);
      if (active && before + sum <= out_rows) source[before + sum - 1] = window;
      before += block_total(sum);
    }
  }
}

// One thread per output row and channel; rows from out_offsets[frames] on are padding.
template <class T>
__global__ void reduce_windows(const T* features, const int4* windows, const int64_t* source,
                               const int32_t* out_offsets, Shape shape, int64_t channels,
                               int64_t out_rows, T* out, int32_t* out_sites, int32_t* argmax) {
  const int64_t number = out_offsets[shape.frames];
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < out_rows * channels; i += step) {
    const int64_t row = i / channels;
    const int64_t channel = i % channels;
    T best = static_cast<T>(0.0f);
    int32_t from = -1;
    if (row < number) {
      const int4 window = windows[source[row]];
      const int32_t rows[kWindow] = {window.x, window.y, window.z, window.w};
      for (int k = 0; k < kWindow; ++k) {
        if (rows[k] < 0) continue;
        const T value = features[rows[k] * channels + channel];
        const float candidate = static_cast<float>(value);
        const float held = static_cast<float>(best);
        // The first of equals wins, and so does the first NaN.
        const bool wins = from < 0 || candidate > held || (candidate != candidate && held == held);
        if (wins) {
          best = value;
          from = rows[k];
        }
      }
    }
    out[i] = best;
    argmax[i] = from;
  }
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; row < out_rows;
       row += step) {
    out_sites[row] = row < number ? static_cast<int32_t>(source[row] % shape.windows()) : 0;
  }
}

// Windows do not overlap: no two outputs of a channel name the same row.
template <class T>
__global__ void scatter_gradient(const T* grad_out, const int32_t* argmax, int64_t elements,
                                 int64_t channels, int64_t rows, T* grad_in) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < elements;
       i += step) {
    const int64_t row = argmax[i];
    if (row >= 0 && row < rows) grad_in[row * channels + i % channels] = grad_out[i];
  }
}

using Pooled = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Pooled sparse_max_pool2d(const Tensor& features_in, const Tensor& sites_in,
                         const Tensor& offsets_in, int64_t height, int64_t width, bool trim) {
  STD_TORCH_CHECK(!trim, kOp, ": trim waits for the device and is for the CPU only");
  STD_TORCH_CHECK(features_in.dim() == 2, kOp, ": features must be (rows, channels)");
  check_int32(kOp, "sites", sites_in, features_in);
  check_int32(kOp, "offsets", offsets_in, features_in);
  STD_TORCH_CHECK(sites_in.numel() == features_in.size(0), kOp, ": sites must have ",
                  features_in.size(0), " elements, got ", sites_in.numel());
  STD_TORCH_CHECK(offsets_in.numel() >= 1 && height >= 0 && width >= 0 && height <= INT32_MAX &&
                      width <= INT32_MAX && height * width <= INT32_MAX,
                  kOp, ": offsets must not be empty, height * width from 0 to 2^31 - 1");
  const torch::stable::accelerator::DeviceGuard guard(features_in.get_device_index());
  const Tensor features = torch::stable::contiguous(features_in);
  const Tensor sites = torch::stable::contiguous(sites_in);
  const Tensor offsets = torch::stable::contiguous(offsets_in);
  const cudaStream_t stream = current_stream(features);

  const int64_t channels = features.size(1);
  const Shape shape{offsets.numel() - 1, features.size(0), height, width};
  const int64_t all = shape.frames * shape.windows();
  const int64_t out_rows = std::min(shape.rows, all);
  Tensor out = empty(features, {out_rows, channels}, features.scalar_type());
  Tensor out_sites = empty(features, {out_rows}, ScalarType::Int);
  Tensor out_offsets = empty(features, {shape.frames + 1}, ScalarType::Int);
  Tensor argmax = empty(features, {out_rows, channels}, ScalarType::Int);
  Tensor table = empty(features, {all, kWindow}, ScalarType::Int);
  Tensor source = empty(features, {out_rows}, ScalarType::Long);
  int4* windows = static_cast<int4*>(table.mutable_data_ptr());
  int32_t* out_offset = static_cast<int32_t*>(out_offsets.mutable_data_ptr());
  int64_t* from = static_cast<int64_t*>(source.mutable_data_ptr());
  const int32_t* offset = static_cast<const int32_t*>(offsets.const_data_ptr());

  if (all > 0) {
    cudaMemsetAsync(windows, 0xff, all * sizeof(int4), stream);
    fill_windows<<<blocks_for(shape.frames), kThreads, 0, stream>>>(
        static_cast<const int32_t*>(sites.const_data_ptr()), offset, shape, windows);
  }
  count_windows<<<blocks_for(shape.frames), kThreads, 0, stream>>>(windows, shape, out_offset);
  sum_offsets<<<1, kThreads, 0, stream>>>(shape.frames, out_offset);
  if (out_rows > 0) {
    place_windows<<<blocks_for(shape.frames), kThreads, 0, stream>>>(windows, out_offset, shape,
                                                                     out_rows, from);
    with_type(kOp, features.scalar_type(), [&](auto element) {
      using T = decltype(element);
      const int64_t work = out_rows * std::max<int64_t>(channels, 1);
      reduce_windows<<<blocks_for((work + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
          static_cast<const T*>(features.const_data_ptr()), windows, from, out_offset, shape,
          channels, out_rows, static_cast<T*>(out.mutable_data_ptr()),
          static_cast<int32_t*>(out_sites.mutable_data_ptr()),
          static_cast<int32_t*>(argmax.mutable_data_ptr()));
    });
  }
  check_launch(kOp, "forward");
  return {out, out_sites, out_offsets, argmax};
}

Tensor sparse_max_pool2d_backward(const Tensor& grad_in, const Tensor& argmax_in, int64_t rows) {
  check_int32(kOp, "argmax", argmax_in, grad_in);
  STD_TORCH_CHECK(grad_in.dim() == 2 && argmax_in.dim() == 2 &&
                      argmax_in.size(0) == grad_in.size(0) &&
                      argmax_in.size(1) == grad_in.size(1) && rows >= 0,
                  kOp, ": argmax must have grad_out's shape, and rows must not be negative");
  const torch::stable::accelerator::DeviceGuard guard(grad_in.get_device_index());
  const Tensor grad_out = torch::stable::contiguous(grad_in);
  const Tensor argmax = torch::stable::contiguous(argmax_in);
  const cudaStream_t stream = current_stream(grad_out);
  const int64_t channels = grad_out.size(1);
  Tensor out = empty(grad_out, {rows, channels}, grad_out.scalar_type());
  if (out.numel() > 0) {
    cudaMemsetAsync(out.mutable_data_ptr(), 0, out.numel() * out.element_size(), stream);
  }
  if (grad_out.numel() > 0 && out.numel() > 0) {
    with_type(kOp, grad_out.scalar_type(), [&](auto element) {
      using T = decltype(element);
      scatter_gradient<<<blocks_for((grad_out.numel() + kThreads - 1) / kThreads), kThreads, 0,
                         stream>>>(static_cast<const T*>(grad_out.const_data_ptr()),
                                   static_cast<const int32_t*>(argmax.const_data_ptr()),
                                   grad_out.numel(), channels, rows,
                                   static_cast<T*>(out.mutable_data_ptr()));
    });
  }
  check_launch(kOp, "backward");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cuda, CUDA, m) {
  m.impl("sparse_max_pool2d", TORCH_BOX(&sparse_max_pool2d));
  m.impl("sparse_max_pool2d_backward", TORCH_BOX(&sparse_max_pool2d_backward));
}

}  // namespace mesm_ops
