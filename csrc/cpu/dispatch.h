// Picks the kernel table of the instruction set in use.
#pragma once

#include <type_traits>

#include "capability.h"
#include "kernels/bfloat16.h"

// MESM_KERNELS(SubmConv2dKernels, subm_conv2d) declares the tables that kernels/subm_conv2d.cpp
// defines and `const SubmConv2dKernels& subm_conv2d_kernels()`.
#ifdef MESM_OPS_X86_ISAS
#define MESM_KERNELS(Table, name)        \
  namespace mesm_ops {                   \
  namespace portable {                   \
  extern const Table name;               \
  }                                      \
  namespace avx2 {                       \
  extern const Table name;               \
  }                                      \
  namespace avx512 {                     \
  extern const Table name;               \
  }                                      \
  namespace avx512bf16 {                 \
  extern const Table name;               \
  }                                      \
  inline const Table& name##_kernels() { \
    switch (cpu_capability()) {          \
      case CpuCapability::kAvx512Bf16:   \
        return avx512bf16::name;         \
      case CpuCapability::kAvx512:       \
        return avx512::name;             \
      case CpuCapability::kAvx2:         \
        return avx2::name;               \
      case CpuCapability::kPortable:     \
        break;                           \
    }                                    \
    return portable::name;               \
  }                                      \
  }
#else
#define MESM_KERNELS(Table, name)                                 \
  namespace mesm_ops {                                            \
  namespace portable {                                            \
  extern const Table name;                                        \
  }                                                               \
  inline const Table& name##_kernels() { return portable::name; } \
  }
#endif

namespace mesm_ops {

// The part of a table that is for features of T.
template <class T, class Table>
const auto& kernels_for(const Table& table) {
  if constexpr (std::is_same_v<T, double>) {
    return table.float64;
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return table.bfloat16;
  } else {
    return table.float32;
  }
}

}  // namespace mesm_ops
