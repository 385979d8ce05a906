// The operations of a block of threads, which also compile as host code: tests run blocks on the
// host, in one thread or in several, and compare with an oracle where there is no GPU.
//
// A phase is one `for_each`; `sync` stands between a phase that writes and one in which other
// threads read. Shared memory is a pointer that the kernel (or the test) passes in. On the host a
// warp has MESM_HOST_LANES lanes, and a block one thread unless the test sets `host_block`.
#pragma once

#include <cstdint>
#include <cstring>
#ifndef __CUDACC__
#include <atomic>
#include <thread>
#endif

#ifdef __CUDACC__
#define MESM_BLOCK __device__ __forceinline__
#define MESM_UNROLL _Pragma("unroll")
#define MESM_ROLLED _Pragma("unroll 1")
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "the CUDA kernels need sm_80 or later"
#endif
#else
#define MESM_BLOCK inline
#define MESM_UNROLL
#define MESM_ROLLED
#endif

namespace mesm_ops {

constexpr int kMaxWarps = 32;
#ifdef __CUDACC__
constexpr int kLanes = 32;
#else
#ifndef MESM_HOST_LANES
#define MESM_HOST_LANES 1
#endif
constexpr int kLanes = MESM_HOST_LANES;

struct HostBlock {
  int thread = 0;
  int threads = 1;
  void (*wait)(void* barrier) = nullptr;  // returns when all threads of the barrier have called
  void* block_barrier = nullptr;
  void* warp_barrier = nullptr;
  uint64_t* words = nullptr;  // one for each lane of this warp
};
inline thread_local HostBlock host_block;
#endif

MESM_BLOCK int thread() {
#ifdef __CUDACC__
  return threadIdx.x;
#else
  return host_block.thread;
#endif
}

MESM_BLOCK int threads() {
#ifdef __CUDACC__
  return blockDim.x;
#else
  return host_block.threads;
#endif
}

// Blocks have whole warps.
MESM_BLOCK int lane() { return thread() % kLanes; }
MESM_BLOCK int warp() { return thread() / kLanes; }
MESM_BLOCK int warps() { return threads() / kLanes; }

// Calls f(i) for i in [0, count), spread over the block's threads; each thread has few.
template <class F>
MESM_BLOCK void for_each(int64_t count, const F& f) {
  MESM_ROLLED
  for (int64_t i = thread(); i < count; i += threads()) f(i);
}

// Calls store(i, load(i)) for i in [0, count); a thread has kAtATime loads under way.
template <int kAtATime, class Load, class Store>
MESM_BLOCK void load_each(int64_t count, const Load& load, const Store& store) {
  MESM_ROLLED
  for (int64_t begin = thread(); begin < count; begin += kAtATime * int64_t{threads()}) {
    decltype(load(begin)) loaded[kAtATime] = {};
    MESM_UNROLL
    for (int k = 0; k < kAtATime; ++k) {
      const int64_t i = begin + k * int64_t{threads()};
      if (i < count) loaded[k] = load(i);
    }
    MESM_UNROLL
    for (int k = 0; k < kAtATime; ++k) {
      const int64_t i = begin + k * int64_t{threads()};
      if (i < count) store(i, loaded[k]);
    }
  }
}

MESM_BLOCK void sync() {
#ifdef __CUDACC__
  __syncthreads();
#else
  if (host_block.wait != nullptr) host_block.wait(host_block.block_barrier);
#endif
}

// `sync` for the lanes of a warp.
MESM_BLOCK void warp_sync() {
#ifdef __CUDACC__
  __syncwarp();
#else
  if (host_block.wait != nullptr) host_block.wait(host_block.warp_barrier);
#endif
}

// Waits briefly, between two reads of a word that another block is to write.
MESM_BLOCK void pause() {
#ifdef __CUDACC__
  __nanosleep(20);
#else
  std::this_thread::yield();
#endif
}

MESM_BLOCK uint32_t bits_of(float value) {
#ifdef __CUDACC__
  return __float_as_uint(value);
#else
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
#endif
}

MESM_BLOCK float float_of(uint32_t bits) {
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
#endif
}

#ifndef __CUDACC__
// The values that all lanes of this thread's warp pass in.
template <class T>
struct HostLanes {
  T of[kLanes];
  explicit HostLanes(T value) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    of[0] = value;
    if (kLanes == 1) return;
    memcpy(host_block.words + lane(), &value, sizeof(T));
    host_block.wait(host_block.warp_barrier);
    for (int i = 0; i < kLanes; ++i) memcpy(of + i, host_block.words + i, sizeof(T));
    host_block.wait(host_block.warp_barrier);
  }
};
#endif

// All lanes of a warp must call a function named warp_*. Results are the same in all lanes.
MESM_BLOCK uint32_t warp_sum(uint32_t value) {
#ifdef __CUDACC__
  return __reduce_add_sync(~0u, value);
#else
  uint32_t sum = 0;
  for (const uint32_t one : HostLanes(value).of) sum += one;
  return sum;
#endif
}

MESM_BLOCK uint32_t warp_min(uint32_t value) {
#ifdef __CUDACC__
  return __reduce_min_sync(~0u, value);
#else
  for (const uint32_t one : HostLanes(value).of) value = one < value ? one : value;
  return value;
#endif
}

MESM_BLOCK uint32_t warp_max(uint32_t value) {
#ifdef __CUDACC__
  return __reduce_max_sync(~0u, value);
#else
  for (const uint32_t one : HostLanes(value).of) value = one > value ? one : value;
  return value;
#endif
}

MESM_BLOCK uint32_t warp_or(uint32_t value) {
#ifdef __CUDACC__
  return __reduce_or_sync(~0u, value);
#else
  for (const uint32_t one : HostLanes(value).of) value |= one;
  return value;
#endif
}

MESM_BLOCK uint64_t warp_sum(uint64_t value) {
  constexpr uint64_t kPart = (1 << 27) - 1;  // 32 of them fit into 32 bits
  const uint64_t low = warp_sum(static_cast<uint32_t>(value & kPart));
  const uint64_t middle = warp_sum(static_cast<uint32_t>(value >> 27 & kPart));
  const uint64_t high = warp_sum(static_cast<uint32_t>(value >> 54));
  return low + (middle << 27) + (high << 54);
}

// Sums over groups of `width` neighbouring lanes, a power of two.
template <class T>
MESM_BLOCK T warp_group_sum(T value, int width) {
  for (int step = width / 2; step > 0; step /= 2) {
#ifdef __CUDACC__
    value += __shfl_xor_sync(~0u, value, step);
#else
    value += HostLanes(value).of[(lane() ^ step) % kLanes];
#endif
  }
  return value;
}

MESM_BLOCK double warp_sum(double value) { return warp_group_sum(value, kLanes); }

// The sum over the lanes before this one: another result in each lane.
template <class T>
MESM_BLOCK T warp_sum_before(T value) {
#ifdef __CUDACC__
  T sum = value;
  MESM_UNROLL
  for (int step = 1; step < kLanes; step *= 2) {
    const T other = __shfl_up_sync(~0u, sum, step);
    if (lane() >= step) sum += other;
  }
  return sum - value;
#else
  const HostLanes<T> lanes(value);
  T sum = 0;
  for (int i = 0; i < lane(); ++i) sum += lanes.of[i];
  return sum;
#endif
}

// A bit for each lane that passes true.
MESM_BLOCK uint32_t warp_vote(bool yes) {
#ifdef __CUDACC__
  return __ballot_sync(~0u, yes);
#else
  const HostLanes<bool> lanes(yes);
  uint32_t votes = 0;
  for (int i = 0; i < kLanes; ++i) votes |= static_cast<uint32_t>(lanes.of[i]) << i;
  return votes;
#endif
}

// A bit for each lane with the same value as this one: another result in each lane.
MESM_BLOCK uint32_t warp_match(uint32_t value) {
#ifdef __CUDACC__
  return __match_any_sync(~0u, value);
#else
  const HostLanes<uint32_t> lanes(value);
  uint32_t alike = 0;
  for (int i = 0; i < kLanes; ++i) alike |= static_cast<uint32_t>(lanes.of[i] == value) << i;
  return alike;
#endif
}

MESM_BLOCK uint32_t ones(uint32_t bits) {
#ifdef __CUDACC__
  return __popc(bits);
#else
  return __builtin_popcount(bits);
#endif
}

// How many bits a number > 0 has.
MESM_BLOCK int bit_width(uint32_t bits) {
#ifdef __CUDACC__
  return 32 - __clz(bits);
#else
  return 32 - __builtin_clz(bits);
#endif
}

// Adds to a word atomically; returns the value before.
MESM_BLOCK uint32_t add_to(uint32_t& word, uint32_t value) {
#ifdef __CUDACC__
  return atomicAdd(&word, value);
#else
  return std::atomic_ref(word).fetch_add(value, std::memory_order_relaxed);
#endif
}

// Sets bits of a word atomically.
MESM_BLOCK void or_into(int32_t& word, uint32_t bits) {
#ifdef __CUDACC__
  atomicOr(&word, static_cast<int32_t>(bits));
#else
  std::atomic_ref(word).fetch_or(static_cast<int32_t>(bits), std::memory_order_relaxed);
#endif
}

// Shared memory in which warps leave words for each other. The halves are used in turns: then one
// `sync` for each exchange is enough: all threads have left a half before any writes to that half.
struct Exchange {
  static constexpr int kWord = 16;
  static constexpr int kBytes = 2 * kMaxWarps * kWord;

  void* shared;  // kBytes, aligned to 16, in use by no thread
  int turn = 0;

  // Posts each warp's word and returns all warps' words.
  template <class T>
  MESM_BLOCK const T* post(const T& word) {
    static_assert(sizeof(T) <= kWord);
    turn ^= 1;
    T* words = reinterpret_cast<T*>(static_cast<char*>(shared) + turn * kMaxWarps * kWord);
    if (lane() == 0) words[warp()] = word;
    sync();
    return words;
  }
};

// Results over a block are the same in all threads; the order of operations depends on the number
// of threads alone.
MESM_BLOCK uint32_t block_max(uint32_t mine, Exchange& exchange) {
  const uint32_t* words = exchange.post(warp_max(mine));
  mine = 0;
  MESM_ROLLED
  for (int i = lane(); i < warps(); i += kLanes) mine = words[i] > mine ? words[i] : mine;
  return warp_max(mine);
}

template <class T>
MESM_BLOCK T block_sum(T mine, Exchange& exchange) {
  const T* words = exchange.post(warp_sum(mine));
  mine = 0;
  MESM_ROLLED
  for (int i = lane(); i < warps(); i += kLanes) mine += words[i];
  return warp_sum(mine);
}

// The sum over the threads before this one, and over all threads.
template <class T>
struct Sums {
  T before, all;
};

template <class T>
MESM_BLOCK Sums<T> block_sums(T mine, Exchange& exchange) {
  const T in_warp = warp_sum_before(mine);
  const T* words = exchange.post(warp_sum(mine));
  Sums<T> sums{0, 0};
  MESM_ROLLED
  for (int i = lane(); i < warps(); i += kLanes) {
    sums.all += words[i];
    sums.before += i < warp() ? words[i] : 0;
  }
  return {in_warp + warp_sum(sums.before), warp_sum(sums.all)};
}

// Every warp takes a run of elements: so many steps, an element per lane in each.
MESM_BLOCK int32_t steps_of_run(int32_t count) {
  return (count + kLanes * warps() - 1) / (kLanes * warps());
}

// How many elements are counted in all, and how many before this warp's run.
struct Count {
  int32_t number, before;
};

// Counts the i in [0, count) for which is(i) is true.
template <class Is>
MESM_BLOCK Count count_where(int32_t count, const Is& is, Exchange& exchange) {
  const int32_t steps = steps_of_run(count);
  uint32_t mine = 0;
  MESM_ROLLED
  for (int32_t step = 0; step < steps; ++step) {
    const int32_t i = (warp() * steps + step) * kLanes + lane();
    mine += ones(warp_vote(i < count && is(i)));
  }
  const uint32_t* numbers = exchange.post(mine);
  uint32_t all = 0;
  uint32_t before = 0;
  MESM_ROLLED
  for (int i = lane(); i < warps(); i += kLanes) {
    all += numbers[i];
    before += i < warp() ? numbers[i] : 0;
  }
  return {static_cast<int32_t>(warp_sum(all)), static_cast<int32_t>(warp_sum(before))};
}

// Calls emit(i, number) for each counted i, numbered in ascending order.
template <class Is, class Emit>
MESM_BLOCK void emit_where(int32_t count, const Is& is, Count counted, const Emit& emit) {
  const int32_t steps = steps_of_run(count);
  const uint32_t lower = (1u << lane()) - 1;
  MESM_ROLLED
  for (int32_t step = 0; step < steps; ++step) {
    const int32_t i = (warp() * steps + step) * kLanes + lane();
    const uint32_t vote = warp_vote(i < count && is(i));
    if (vote >> lane() & 1) emit(i, static_cast<int32_t>(counted.before + ones(vote & lower)));
    counted.before += ones(vote);
  }
}

}  // namespace mesm_ops
