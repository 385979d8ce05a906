// The nucleus as a kernel's block finds it, for test_nucleus.py.
#include "nucleus.cuh"

#include "host_block.h"

// attention: count floats; kept: count numbers; returns how many are kept, -1 if threads disagree.
extern "C" int32_t run_nucleus(const float* scores, int32_t count, double p, int threads,
                               float* attention, int32_t* kept) {
  using namespace mesm_ops;
  SharedExchange shared;
  CutShared cut;
  std::memset(static_cast<void*>(&cut), 0xa5, sizeof(cut));
  std::vector<int32_t> numbers(threads);
  run_block(threads, [&] {
    Exchange exchange{shared.bytes};
    numbers[thread()] = nucleus(scores, count, p, attention, exchange, cut,
                                [&](int32_t i, int32_t number) { kept[number] = i; });
  });
  for (const int32_t number : numbers) {
    if (number != numbers[0]) return -1;
  }
  return numbers[0];
}

extern "C" uint64_t run_mass_to_reach(double p) { return mesm_ops::mass_to_reach(p); }
