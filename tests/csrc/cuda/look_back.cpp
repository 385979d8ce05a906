// Look-back by blocks side by side, for test_look_back.py.
#include "look_back.cuh"

#include "host_block.h"

extern "C" {

// sums[part] = the sum of all parts before it, found by as many blocks at a time as are asked for.
void run_look_back(const uint64_t* own, int64_t parts, uint64_t* words, int side_by_side,
                   uint64_t* sums) {
  using namespace mesm_ops;
  const LookBack look_back{words};
  run_blocks(parts, side_by_side, [&](int64_t) {
    const int64_t part = look_back.take_part();
    if (part % 3 == 0) std::this_thread::yield();  // not in step with the others
    look_back.post(part, own[part]);
    run_block(kLanes, [&] {
      const uint64_t sum = look_back.sum_before(part, own[part]);
      if (thread() == 0) sums[part] = sum;
    });
  });
}

// The sum before one part, the words of the parts before being given.
uint64_t run_one(uint64_t* words, int64_t part, uint64_t own) {
  using namespace mesm_ops;
  uint64_t found = 0;
  run_block(kLanes, [&] {
    const uint64_t sum = LookBack{words}.sum_before(part, own);
    if (thread() == 0) found = sum;
  });
  return found;
}

uint64_t own_word(uint64_t sum) { return mesm_ops::LookBack::kOwn | sum; }
uint64_t inclusive_word(uint64_t sum) { return mesm_ops::LookBack::kInclusive | sum; }

}  // extern "C"
