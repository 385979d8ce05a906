// Working memory of a thread, kept from call to call: fresh pages cost more than the work on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace mesm_ops {

class ThreadMemory {
 public:
  ~ThreadMemory() { ::operator delete(data_, kAlign); }

  // At least so many bytes, aligned to a cache line; what was there is lost.
  void* at_least(int64_t bytes) {
    if (bytes > size_) {
      ::operator delete(data_, kAlign);
      data_ = nullptr;
      size_ = 0;
      data_ = ::operator new(static_cast<std::size_t>(bytes), kAlign);
      size_ = bytes;
    }
    return data_;
  }

 private:
  static constexpr std::align_val_t kAlign{64};
  void* data_ = nullptr;
  int64_t size_ = 0;
};

// The calling thread's memory for `count` of T; each `Slot` has its own. Valid until the thread
// asks for the same slot again.
template <class T, int Slot = 0>
T* scratch(int64_t count) {
  thread_local ThreadMemory memory;
  return static_cast<T*>(memory.at_least(count * static_cast<int64_t>(sizeof(T))));
}

}  // namespace mesm_ops
