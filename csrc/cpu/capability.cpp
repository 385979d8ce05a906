#include "capability.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace mesm_ops {
namespace {

// __builtin_cpu_supports asks cpuid and, through xgetbv, whether the system saves the registers.
bool runs_here(CpuCapability capability) {
#ifdef MESM_OPS_X86_ISAS
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  switch (capability) {
    case CpuCapability::kPortable:
      return true;
    case CpuCapability::kAvx2:
      return avx2;
    case CpuCapability::kAvx512:
      return avx512;
    case CpuCapability::kAvx512Bf16:
      return avx512 && __builtin_cpu_supports("avx512bf16");
  }
  return false;
#else
  return capability == CpuCapability::kPortable;
#endif
}

constexpr CpuCapability kBestFirst[] = {CpuCapability::kAvx512Bf16, CpuCapability::kAvx512,
                                        CpuCapability::kAvx2, CpuCapability::kPortable};

CpuCapability detect() {
  const char* wanted = std::getenv("MESM_OPS_CPU");
  if (wanted == nullptr || *wanted == '\0') {
    for (CpuCapability capability : kBestFirst) {
      if (runs_here(capability)) return capability;
    }
    return CpuCapability::kPortable;
  }
  for (CpuCapability capability : kBestFirst) {
    if (std::string(wanted) != name_of(capability)) continue;
    if (runs_here(capability)) return capability;
    throw std::invalid_argument(std::string("MESM_OPS_CPU=") + wanted +
                                ": this machine or this build does not have it; unset MESM_OPS_CPU "
                                "to use the best it has");
  }
  throw std::invalid_argument(
      std::string("MESM_OPS_CPU must be portable, avx2, avx512 or avx512bf16, or unset, got \"") +
      wanted + "\"");
}

}  // namespace

CpuCapability cpu_capability() {
  static const CpuCapability capability = detect();
  return capability;
}

const char* name_of(CpuCapability capability) {
  switch (capability) {
    case CpuCapability::kAvx512Bf16:
      return "avx512bf16";
    case CpuCapability::kAvx512:
      return "avx512";
    case CpuCapability::kAvx2:
      return "avx2";
    case CpuCapability::kPortable:
      break;
  }
  return "portable";
}

}  // namespace mesm_ops
