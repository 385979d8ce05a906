// Working memory of a thread, kept from call to call: fresh pages cost more than the work on them.
#pragma once

#include <torch/csrc/stable/device.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <vector>

#include "tensor_checks.h"

namespace mesm_ops {

class ThreadMemory {
 public:
  ~ThreadMemory() { ::operator delete(data_, kAlign); }

  // At least so many bytes, aligned to a cache line; earlier contents are lost.
  void* at_least(int64_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    size_ = -1;  // a new allocation each time, so that the sanitizer finds writes beyond `bytes`
#endif
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

// The users of a thread's memory. Tasks run on the calling thread too, so tasks have slots of their
// own.
enum Slot : int {
  kSumsSlot,
  kPanelSlot,
  kRowsSlot,
  // The slots of a whole call:
  kWeightSlot,
  kSelectedSlot,
  kHiddenSlot,
  kLastSlot,
  kGradientSlot,
  kPartialSlot,
};

// The calling thread's memory for `count` elements of T, one allocation per `Slot`. Valid until the
// thread's next call for the same slot.
template <class T, int Slot = kSumsSlot>
T* scratch(int64_t count) {
  thread_local ThreadMemory memory;
  return static_cast<T*>(memory.at_least(count * static_cast<int64_t>(sizeof(T))));
}

// Allocates a result: `empty`, or a `temporary`.
using Place = Tensor (*)(std::initializer_list<int64_t>, ScalarType);

// A tensor in the calling thread's memory, for values that do not outlive the call; a newly
// allocated tensor if too large to keep. Each `Slot` has one tensor at a time.
template <int Slot>
Tensor temporary(std::initializer_list<int64_t> sizes, ScalarType dtype) {
  constexpr int64_t kKept = 16 * 1024 * 1024;
  int64_t bytes = dtype == ScalarType::Double ? 8 : dtype == ScalarType::BFloat16 ? 2 : 4;
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= sizes.begin()[i];
  }
  bytes *= stride;
  if (bytes == 0 || bytes > kKept) return empty(sizes, dtype);
  return torch::stable::from_blob(
      scratch<char, Slot>(bytes),
      torch::headeronly::IntHeaderOnlyArrayRef(sizes.begin(), sizes.size()),
      torch::headeronly::IntHeaderOnlyArrayRef(strides.data(), strides.size()),
      torch::stable::Device(torch::headeronly::DeviceType::CPU), dtype);
}

}  // namespace mesm_ops
