// Sums over all blocks before this one, in the same launch: decoupled look-back (Merrill and
// Garland, 2016).
//
// Each part posts its own sum at once, and the sum of all parts up to its own as soon as this sum
// is known. A block takes its part from a counter when the block begins: all earlier parts belong
// to blocks that have begun, so no block waits forever.
#pragma once

#include "block.cuh"

#ifdef __CUDACC__
#include <cuda/atomic>
#else
#include <atomic>
#endif

namespace mesm_ops {

#ifdef __CUDACC__
using SharedWord = cuda::atomic_ref<uint64_t, cuda::thread_scope_device>;
constexpr auto kRelaxed = cuda::memory_order_relaxed;
#else
using SharedWord = std::atomic_ref<uint64_t>;
constexpr auto kRelaxed = std::memory_order_relaxed;
#endif

// One word holds the whole state of a part, so no order between words is needed.
struct LookBack {
  static constexpr uint64_t kOwn = uint64_t{1} << 62;        // the part's own sum
  static constexpr uint64_t kInclusive = uint64_t{2} << 62;  // the sum of all parts up to its own
  static constexpr uint64_t kSum = kOwn - 1;

  uint64_t* words;  // 1 + parts, zero at first: the counter, then one for each part

  MESM_BLOCK int64_t take_part() const {
#ifdef __CUDA_ARCH__
    // Declared as global memory: else nvcc adds code for shared memory too, which spills registers.
    uint64_t part;
    asm volatile("atom.global.relaxed.gpu.add.u64 %0, [%1], 1;"
                 : "=l"(part)
                 : "l"(__cvta_generic_to_global(words))
                 : "memory");
    return static_cast<int64_t>(part);
#else
    return SharedWord(words[0]).fetch_add(1, kRelaxed);
#endif
  }

  // Called by one thread, before the block looks back.
  MESM_BLOCK void post(int64_t part, uint64_t sum) const {
    SharedWord(words[1 + part]).store((part == 0 ? kInclusive : kOwn) | sum, kRelaxed);
  }

  // Called by one whole warp: returns the sum of all parts before.
  MESM_BLOCK uint64_t sum_before(int64_t part, uint64_t own_sum) const {
    constexpr uint32_t kAll = ~0u >> (32 - kLanes);
    uint64_t sum = 0;
    for (int64_t last = part - 1; last >= 0;) {
      const int64_t at = last - lane();
      uint64_t word = kInclusive;  // before the first
      if (at >= 0) word = SharedWord(words[1 + at]).load(kRelaxed);
      const uint32_t ready = warp_vote(word != 0);
      const uint32_t inclusive = warp_vote(word >= kInclusive);
      const uint32_t needed = inclusive == 0 ? kAll : inclusive ^ (inclusive - 1);
      if ((ready & needed) != needed) {
        pause();
        continue;
      }
      sum += warp_sum(needed >> lane() & 1 ? word & kSum : 0);
      if (inclusive != 0) break;
      last -= kLanes;
    }
    if (part > 0 && lane() == 0) {
      SharedWord(words[1 + part]).store(kInclusive | (sum + own_sum), kRelaxed);
    }
    return sum;
  }
};

}  // namespace mesm_ops
