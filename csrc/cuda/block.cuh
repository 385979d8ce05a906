// What a block of threads does, written so that it also compiles as host code: there one thread does
// the work of all, phase by phase, and tests compare it with an oracle where there is no GPU.
//
// A phase is one `for_each`; between phases that read what others wrote stands `sync`. Shared memory
// is a pointer that the kernel (or the test) passes in.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define MESM_BLOCK __device__ __forceinline__
#else
#define MESM_BLOCK inline
#endif

namespace mesm_ops {

// f(i) for i in [0, count), spread over the block's threads.
template <class F>
MESM_BLOCK void for_each(int64_t count, const F& f) {
#ifdef __CUDA_ARCH__
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) f(i);
#else
  for (int64_t i = 0; i < count; ++i) f(i);
#endif
}

MESM_BLOCK void sync() {
#ifdef __CUDA_ARCH__
  __syncthreads();
#endif
}

}  // namespace mesm_ops
