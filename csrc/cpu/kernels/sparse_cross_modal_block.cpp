#include "sparse_cross_modal_block.h"

#include "isa.h"
#include "scalar.h"

namespace mesm_ops::MESM_ISA {
namespace {

template <class T>
void add(const T* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; ++i) store(to[i], load(to[i]) + load(from[i]));
}

}  // namespace

extern constinit const SparseCrossModalBlockKernels sparse_cross_modal_block = {
    add<float>, add<BFloat16>, add<double>};

}  // namespace mesm_ops::MESM_ISA
