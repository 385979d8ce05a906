// A block of threads on the host, for the tests of csrc/cuda.
#pragma once

#include <barrier>
#include <thread>
#include <vector>

#include "block.cuh"

namespace mesm_ops {

// Runs body() in each of the block's threads; with one it is this one.
template <class Body>
void run_block(int threads, const Body& body) {
  if (threads == 1) {
    host_block = {};
    return body();
  }
  std::barrier<> barrier(threads);
  std::vector<std::thread> block;
  for (int i = 0; i < threads; ++i) {
    block.emplace_back([&, i] {
      host_block = {i, threads, [](void* b) { static_cast<std::barrier<>*>(b)->arrive_and_wait(); },
                    &barrier};
      body();
    });
  }
  for (std::thread& one : block) one.join();
}

struct alignas(16) SharedExchange {
  char bytes[Exchange::kBytes];
};

}  // namespace mesm_ops
