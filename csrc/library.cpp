// The extension module: build facts. Importing it loads libmesm_ops, whose ops register themselves,
// each in cpu/<op>.cpp; cuda/<op>.cu are in a library of their own.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <map>
#include <string>

extern "C" const char* mesm_ops_cpu_capability();  // of libmesm_ops

namespace {

#define MESM_STRING_(x) #x
#define MESM_STRING(x) MESM_STRING_(x)

std::map<std::string, std::string> build_info() {
  return {
#if defined(__clang__)
      {"compiler", "clang"},
      {"compiler_version", __clang_version__},
#else
      {"compiler", "gcc"},
      {"compiler_version", __VERSION__},
#endif
      {"cxx_standard", MESM_STRING(__cplusplus)},
      {"torch_version_built_with", MESM_OPS_TORCH_VERSION},
      {"torch_target_version", MESM_STRING(TORCH_TARGET_VERSION)},
#ifdef MESM_OPS_X86_ISAS
      {"isas_compiled", "portable,avx2,avx512,avx512bf16"},
#else
      {"isas_compiled", "portable"},
#endif
      {"cuda", MESM_OPS_BUILT_CUDA},
      {"flags", MESM_OPS_FLAGS},
  };
}

std::string cpu_capability() { return mesm_ops_cpu_capability(); }

// Whether offsets rise from 0 to at most `rows`, and sites ascend inside a frame and lie below
// `area`. The addresses are of contiguous int32 tensors, (rows,) and (frames + 1,).
bool are_sites(std::uintptr_t sites, std::uintptr_t offsets, int64_t rows, int64_t frames,
               int64_t area) {
  const auto* site = reinterpret_cast<const int32_t*>(sites);
  const auto* offset = reinterpret_cast<const int32_t*>(offsets);
  if (offset[0] != 0) return false;
  for (int64_t f = 0; f < frames; ++f) {
    if (offset[f + 1] < offset[f] || offset[f + 1] > rows) return false;
    int64_t before = -1;
    for (int64_t row = offset[f]; row < offset[f + 1]; ++row) {
      if (site[row] <= before) return false;
      before = site[row];
    }
    if (before >= area) return false;
  }
  return true;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Build facts of mesm_ops; importing it loads libmesm_ops, which registers the ops.";
  m.def("build_info", &build_info, "How this module was built.");
  m.def("are_sites", &are_sites, "Whether int32 sites and offsets at these addresses are maps'.");
  m.def("cpu_capability", &cpu_capability,
        "Instruction set in use: portable, avx2, avx512 or avx512bf16; MESM_OPS_CPU forces one.");
}
