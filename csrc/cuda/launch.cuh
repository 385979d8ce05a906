// Helpers of all CUDA ops, between torch and a launch.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "../check.h"
#include "rows.cuh"

namespace mesm_ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int kThreads = 256;

template <class T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}

template <class T>
T* mutable_data(const Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

// Blocks for a loop over `count` elements, or frames, that strides by the grid.
inline unsigned blocks_for(int64_t count) {
  return static_cast<unsigned>(std::clamp<int64_t>(count, 1, 65535));
}

// Warps of a block that selects among so many candidates: few warps, which seldom wait.
inline int warps_for(int64_t candidates, int most) {
  int warps = 1;
  for (int64_t enough = 64; warps < most && candidates > enough; enough *= 4) warps *= 2;
  return warps;
}

inline void check_launch(const char* op, const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  MESM_CHECK(error == cudaSuccess, op, ": ", kernel, ": ", cudaGetErrorString(error));
}

inline cudaStream_t current_stream(const Tensor& t) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType dtype) {
  return torch::stable::new_empty(
      like, torch::headeronly::IntHeaderOnlyArrayRef(sizes.begin(), sizes.size()), dtype);
}

// Zeros a tensor before the next launch on the stream runs.
inline void clear(const Tensor& t, cudaStream_t stream) {
  if (t.numel() > 0) cudaMemsetAsync(t.mutable_data_ptr(), 0, t.numel() * t.element_size(), stream);
}

// Calls f with a value of the element type.
template <class F>
void with_type(const char* op, ScalarType dtype, const F& f) {
  if (dtype == ScalarType::Float) return f(float());
  if (dtype == ScalarType::BFloat16) return f(__nv_bfloat16());
  if (dtype == ScalarType::Half) return f(__half());
  MESM_CHECK(false, op, ": the cuda kernels take float32, bfloat16 or float16 features, got ",
             torch::headeronly::toString(dtype));
}

// Calls f with a pack of the element type: 16 bytes if rows and addresses are multiples of 16.
template <class F>
void with_pack(const char* op, ScalarType dtype, int64_t channels,
               std::initializer_list<const void*> addresses, const F& f) {
  with_type(op, dtype, [&](auto element) {
    using T = decltype(element);
    bool wide = channels % WidePack<T>::kSize == 0;
    for (const void* address : addresses) {
      wide = wide && reinterpret_cast<uintptr_t>(address) % sizeof(WidePack<T>) == 0;
    }
    if (wide) return f(WidePack<T>());
    f(SinglePack<T>());
  });
}

// Rows are numbered in int32.
inline void check_features(const char* op, const Tensor& features) {
  MESM_CHECK(features.is_cuda() && features.dim() == 2 && features.size(0) <= INT32_MAX &&
                 features.size(1) <= INT32_MAX,
             op, ": features must be (rows, channels), fewer than 2^31 each");
}

// A block for each frame, and one block for the padding alone.
inline unsigned blocks_for_frames(const char* op, const Tensor& offsets) {
  const int64_t frames = offsets.numel() - 1;
  MESM_CHECK(frames >= 0 && frames < INT32_MAX, op,
             ": offsets must be of 0 to 2^31 - 2 frames, got ", frames);
  return static_cast<unsigned>(std::max<int64_t>(frames, 1));
}

inline bool is_beside(const Tensor& t, const Tensor& features) {
  return t.is_cuda() && t.get_device_index() == features.get_device_index();
}

inline void check_int32(const char* op, const char* name, const Tensor& t, const Tensor& features) {
  MESM_CHECK(is_beside(t, features) && t.scalar_type() == ScalarType::Int, op, ": ", name,
             " must be int32 on the features' device");
}

}  // namespace mesm_ops
