// The kernels of sparse_cross_modal_block and their launches.
#pragma once

#include <algorithm>
#include <cstdint>

#include "launch.cuh"
#include "sparse_cross_modal_block_convolve.cuh"

namespace mesm_ops {
namespace {

constexpr const char* kOp = "sparse_cross_modal_block";
constexpr int kVectors = 3;

// Parameters that are only widened.
struct Vectors {
  Parameter from[kVectors];
  float* to[kVectors];
  int64_t count[kVectors];
};

template <class E>
__global__ void prepare(Stage stage1, Stage stage2, Vectors vectors) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = static_cast<int64_t>(stage1.columns) * stage1.depth;
  const int64_t second = static_cast<int64_t>(stage2.columns) * stage2.depth;
  for (int64_t i = begin; i < first; i += step) pack<E>(stage1, i);
  for (int64_t i = begin; i < second; i += step) pack<E>(stage2, i);
  for (int v = 0; v < kVectors; ++v) {
    for (int64_t i = begin; i < vectors.count[v]; i += step) {
      vectors.to[v][i] = vectors.from[v].at(i);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(T::kThreads) ask_kernel(Asked asked) {
  extern __shared__ __align__(16) char shared[];
  ask<T>(asked, blockIdx.x, shared);
}

template <class Length>
__global__ void sum_lengths(const Length* lengths, int64_t samples, int32_t* ends) {
  __shared__ int32_t parts[kParts];
  sum_up(samples, [&](int64_t i) { return lengths[i]; }, ends, parts);
}

// Threads of an SM: where shared memory has room for more than 384, if the registers do without
// spilling.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
constexpr int kSelectThreads = 512;
#else
constexpr int kSelectThreads = 384;
#endif

template <class T>
__global__ void __launch_bounds__(T::kThreads, kSelectThreads / T::kThreads)
    select_kernel(Select s) {
  extern __shared__ __align__(16) char shared[];
  for (int64_t frame = blockIdx.x; frame < s.maps.frames; frame += gridDim.x) {
    select<T>(s, frame, shared);
  }
}

__global__ void sum_offsets(const int32_t* kept, const int32_t* windows, int64_t frames,
                            int32_t* kept_offsets, int32_t* out_offsets) {
  __shared__ int32_t parts[kParts];
  if (threadIdx.x == 0) kept_offsets[0] = out_offsets[0] = 0;
  sum_up(frames, [&](int64_t f) { return kept[f]; }, kept_offsets + 1, parts);
  sum_up(frames, [&](int64_t f) { return windows[f]; }, out_offsets + 1, parts);
}

template <class E>
__global__ void place_kernel(Places p) {
  extern __shared__ __align__(16) char shared[];
  for (int64_t frame = blockIdx.x; frame < p.maps.frames; frame += gridDim.x) {
    place<E>(p, frame, shared);
  }
  place_padding(p, blockIdx.x, gridDim.x);
}

__global__ void plan_kernel(Plan p) {
  __shared__ __align__(16) char shared[Plan::kBytes];
  const int64_t plans = (kept_rows(p.number, p.capacity) + kPlanRows - 1) / kPlanRows;
  for (int64_t tile = blockIdx.x; tile < plans; tile += gridDim.x) plan_rows(p, tile, shared);
}

// Eight warps an SM: as many registers a thread as there can be.
template <class T>
__global__ void __launch_bounds__(T::kThreads, 256 / T::kThreads) convolve_kernel(Convolve c) {
  extern __shared__ __align__(16) char shared[];
  const int64_t number = tiles<T>(c);
  for (int64_t tile = blockIdx.x; tile < number; tile += gridDim.x) convolve<T>(c, tile, shared);
}

template <class E>
__global__ void pool_kernel(Pool p) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < p.out_rows * (p.columns / kPiece); i += step) {
    pool<E>(p, static_cast<int32_t>(i));
  }
}

void check_cuda(const char* what, cudaError_t error) {
  STD_TORCH_CHECK(error == cudaSuccess, kOp, ": ", what, ": ", cudaGetErrorString(error));
}

int device_attribute(cudaDeviceAttr attribute, int device) {
  int value = 0;
  check_cuda("device attribute", cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

// More shared memory than 48 KiB must be asked for.
template <class F>
void allow(F* kernel, int64_t bytes) {
  check_cuda("shared memory", cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(bytes)));
}

struct Call {
  Stage stages[2];
  Vectors vectors;
  Asked asked;
  const Tensor* lengths;  // null: one query for each frame
  int32_t* ends;
  Select select;
  Places places;
  Plan plan;
  uint16_t* convolved[2];  // results of both convolutions
  Pool pool;
  int device, processors;
  int64_t shared_limit;
  cudaStream_t stream;

  int64_t frames() const { return select.maps.frames; }
};

template <class T>
void launch_ask(const Call& call) {
  const int64_t across = (call.asked.product.columns + T::kColumns - 1) / T::kColumns;
  const int64_t tiles = (call.asked.samples + T::kRows - 1) / T::kRows * across;
  if (tiles == 0) return;
  allow(ask_kernel<T>, T::kBytes);
  ask_kernel<T><<<static_cast<unsigned>(tiles), T::kThreads, T::kBytes, call.stream>>>(call.asked);
}

template <class T>
void launch_select(const Call& call) {
  const Maps& maps = call.select.maps;
  const int64_t bytes = SelectMemory<T>::bytes(static_cast<int64_t>(maps.height) * maps.width);
  STD_TORCH_CHECK(bytes <= call.shared_limit, kOp, ": the cuda kernels keep a frame's scores in ",
                  "shared memory: ", maps.height, " x ", maps.width, " sites need ", bytes,
                  " bytes, the device has ", call.shared_limit);
  allow(select_kernel<T>, bytes);
  select_kernel<T><<<blocks_for(call.frames()), T::kThreads, bytes, call.stream>>>(call.select);
}

template <class T>
void launch_convolve(const Call& call, const Convolve& c) {
  allow(convolve_kernel<T>, T::kBytes);
  int resident = 0;
  check_cuda("occupancy", cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                              &resident, convolve_kernel<T>, T::kThreads, T::kBytes));
  STD_TORCH_CHECK(resident > 0, kOp, ": the device has too little shared memory for a tile");
  const int64_t across = (c.product.columns + T::kColumns - 1) / T::kColumns;
  const int64_t most = (c.capacity + T::kRows - 1) / T::kRows * across;
  const int64_t blocks = std::min<int64_t>(most, resident * call.processors);
  convolve_kernel<T><<<blocks_for(blocks), T::kThreads, T::kBytes, call.stream>>>(c);
}

// High tiles read weights half as often. Low ones are more, for work that would not fill the GPU,
// and two to an SM, so that one multiplies while the other begins or ends: for short products.
// Where the line is, is reckoned, not measured.
template <class E>
void launch_stage(const Call& call, const Convolve& c) {
  using High = Tile<E, 4, 8, kTaps>;
  // No frame keeps more than this share and one site, as it keeps the most attended ones.
  const double expected = std::min(1.0, call.select.p) * static_cast<double>(c.capacity);
  const int64_t across = (c.product.columns + High::kColumns - 1) / High::kColumns;
  const bool fills = expected / High::kRows * static_cast<double>(across) >= 2.0 * call.processors;
  if (c.product.columns <= 64) return launch_convolve<Tile<E, 2, 4, kTaps>>(call, c);
  constexpr int kLong = 128;
  if (fills && c.product.depth >= kLong && High::kBytes <= call.shared_limit)
    return launch_convolve<High>(call, c);
  launch_convolve<Tile<E, 2, 8, kTaps>>(call, c);
}

// Parameters and the queries' share of the hidden values.
template <class E>
void launch_prepare(const Call& call) {
  const int64_t entries =
      std::max(static_cast<int64_t>(call.stages[0].columns) * call.stages[0].depth,
               static_cast<int64_t>(call.stages[1].columns) * call.stages[1].depth);
  prepare<E><<<blocks_for((entries + kThreads - 1) / kThreads), kThreads, 0, call.stream>>>(
      call.stages[0], call.stages[1], call.vectors);
  launch_ask<Tile<E, 1, 4, 1>>(call);
  if (call.lengths != nullptr) {
    const void* lengths = call.lengths->const_data_ptr();
    if (call.lengths->scalar_type() == ScalarType::Long) {
      sum_lengths<<<1, kParts, 0, call.stream>>>(static_cast<const int64_t*>(lengths),
                                                 call.asked.samples, call.ends);
    } else {
      sum_lengths<<<1, kParts, 0, call.stream>>>(static_cast<const int32_t*>(lengths),
                                                 call.asked.samples, call.ends);
    }
  }
}

// Nine launches with those of `launch_prepare`, ten with lengths.
template <class E>
void launch(const Call& call) {
  const Maps& maps = call.select.maps;
  const int64_t area = static_cast<int64_t>(maps.height) * maps.width;
  // Few columns and stages: that all frames be under way at once hides more than large tiles would.
  if (area <= Tile<E, 1, 4, 1, 3>::kRows) {
    launch_select<Tile<E, 1, 4, 1, 3>>(call);
  } else {
    launch_select<Tile<E, 2, 4, 1, 3>>(call);
  }
  sum_offsets<<<1, kParts, 0, call.stream>>>(call.select.kept_count, call.select.window_count,
                                             maps.frames,
                                             const_cast<int32_t*>(call.places.kept_offsets),
                                             const_cast<int32_t*>(call.places.out_offsets));
  allow(place_kernel<E>, Places::bytes(area));
  place_kernel<E>
      <<<blocks_for(maps.frames), kThreads, Places::bytes(area), call.stream>>>(call.places);
  const int64_t plans = (call.plan.capacity + kPlanRows - 1) / kPlanRows;
  plan_kernel<<<blocks_for(std::min<int64_t>(plans, 8 * call.processors)), kThreads, 0,
                call.stream>>>(call.plan);
  const uint16_t* from = call.places.x;
  for (int i = 0; i < 2; ++i) {
    const Stage& stage = call.stages[i];
    const Product product = make_product(from, stage.packed, stage.depth, stage.columns);
    launch_stage<E>(
        call, {product, call.plan.neighbours, call.plan.order, call.plan.taps, call.plan.number,
               call.plan.capacity, stage.scale, stage.shift, call.convolved[i]});
    from = call.convolved[i];
  }
  const int64_t pieces = call.pool.out_rows * (call.pool.columns / kPiece);
  pool_kernel<E>
      <<<blocks_for(std::min<int64_t>((pieces + kThreads - 1) / kThreads, 32 * call.processors)),
         kThreads, 0, call.stream>>>(call.pool);
}

}  // namespace
}  // namespace mesm_ops
