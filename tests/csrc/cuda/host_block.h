// A block of threads on the host, for the tests of csrc/cuda.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "block.cuh"

namespace mesm_ops {

// std::barrier spins before it sleeps, which is dear where there are more threads than cores.
class Barrier {
 public:
  explicit Barrier(int threads) { pthread_barrier_init(&barrier_, nullptr, threads); }
  Barrier(const Barrier&) = delete;
  ~Barrier() { pthread_barrier_destroy(&barrier_); }
  void wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

// Threads that stay: to start one takes a sanitizer long.
class Pool {
 public:
  // Calls work(i) for i in [0, threads), each in a thread of its own; a single one in this thread.
  void run(int threads, const std::function<void(int)>& work) {
    if (threads == 1) return work(0);
    std::unique_lock lock(mutex_);
    while (static_cast<int>(members_.size()) < threads) {
      members_.emplace_back();
      std::thread(&Pool::stay, this, static_cast<int>(members_.size()) - 1).detach();
    }
    work_ = &work;
    left_ = threads;
    for (int i = 0; i < threads; ++i) {
      members_[i].called = true;
      members_[i].wake.notify_one();
    }
    done_.wait(lock, [&] { return left_ == 0; });
  }

  // The calling thread's own, which is left to the process' end.
  static Pool& own() {
    thread_local Pool* const pool = new Pool;
    return *pool;
  }

 private:
  struct Member {
    std::condition_variable wake;
    bool called = false;
  };

  void stay(int number) {
    std::unique_lock lock(mutex_);
    Member& member = members_[number];
    for (;;) {
      member.wake.wait(lock, [&] { return member.called; });
      member.called = false;
      const std::function<void(int)>& work = *work_;
      lock.unlock();
      work(number);
      lock.lock();
      if (--left_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable done_;
  std::deque<Member> members_;
  const std::function<void(int)>* work_ = nullptr;
  int left_ = 0;
};

// Runs body() in each of the block's threads, which are whole warps; one thread is this one.
template <class Body>
void run_block(int threads, const Body& body) {
  if (threads == 1 && kLanes == 1) {
    host_block = {};
    return body();
  }
  Barrier block_barrier(threads);
  std::deque<Barrier> warp_barriers;
  for (int i = 0; i < threads / kLanes; ++i) warp_barriers.emplace_back(kLanes);
  std::vector<uint64_t> words(threads);
  const auto wait = [](void* barrier) { static_cast<Barrier*>(barrier)->wait(); };
  Pool::own().run(threads, [&](int i) {
    const int warp = i / kLanes;
    host_block = {i, threads, wait, &block_barrier, &warp_barriers[warp], &words[warp * kLanes]};
    body();
  });
}

// Runs body(block) for each of a launch's blocks, so many of them side by side.
template <class Body>
void run_blocks(int64_t blocks, int side_by_side, const Body& body) {
  std::atomic<int64_t> next = 0;
  Pool::own().run(side_by_side, [&](int) {
    for (int64_t block = next++; block < blocks; block = next++) body(block);
  });
}

struct alignas(16) SharedExchange {
  char bytes[Exchange::kBytes];
};

}  // namespace mesm_ops
