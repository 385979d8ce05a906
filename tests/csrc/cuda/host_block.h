// A block of threads on the host, for the tests of csrc/cuda.
#pragma once

#include <atomic>
#include <barrier>
#include <deque>
#include <thread>
#include <vector>

#include "block.cuh"

namespace mesm_ops {

// Runs body() in each of the block's threads, which are whole warps; one thread is this one.
template <class Body>
void run_block(int threads, const Body& body) {
  if (threads == 1 && kLanes == 1) {
    host_block = {};
    return body();
  }
  std::barrier<> block_barrier(threads);
  std::deque<std::barrier<>> warp_barriers;
  for (int i = 0; i < threads / kLanes; ++i) warp_barriers.emplace_back(kLanes);
  std::vector<uint64_t> words(threads);
  std::vector<std::thread> block;
  for (int i = 0; i < threads; ++i) {
    block.emplace_back([&, i] {
      const auto wait = [](void* barrier) {
        static_cast<std::barrier<>*>(barrier)->arrive_and_wait();
      };
      host_block = {i,
                    threads,
                    wait,
                    &block_barrier,
                    &warp_barriers[i / kLanes],
                    &words[i / kLanes * kLanes]};
      body();
    });
  }
  for (std::thread& one : block) one.join();
}

// Runs body(block) for each of a launch's blocks, so many of them side by side.
template <class Body>
void run_blocks(int64_t blocks, int side_by_side, const Body& body) {
  std::atomic<int64_t> next = 0;
  std::vector<std::thread> running;
  for (int i = 0; i < side_by_side; ++i) {
    running.emplace_back([&] {
      for (int64_t block = next++; block < blocks; block = next++) body(block);
    });
  }
  for (std::thread& one : running) one.join();
}

struct alignas(16) SharedExchange {
  char bytes[Exchange::kBytes];
};

}  // namespace mesm_ops
