// Which build of the CPU kernels runs on this machine.
#pragma once

namespace mesm_ops {

enum class CpuCapability { kPortable, kAvx2, kAvx512, kAvx512Bf16 };

// The best instruction set that was compiled and that machine and system support; MESM_OPS_CPU
// forces one. Decided once; throws std::invalid_argument if MESM_OPS_CPU names no instruction set,
// or one that cannot run here.
CpuCapability cpu_capability();

const char* name_of(CpuCapability capability);

}  // namespace mesm_ops
