// The schemas of all ops, so that programs without Python have them too, and what the library says
// of itself. Each op's kernels are registered in its own file.
#include <torch/csrc/stable/library.h>

#include "capability.h"
#include "op_schemas.h"

namespace mesm_ops {

STABLE_TORCH_LIBRARY_FRAGMENT(mesm_ops, m) {
  for (const char* schema : kOpSchemas) m.def(schema);
}

STABLE_TORCH_LIBRARY_FRAGMENT(mesm_ops_cpp, m) {
  for (const char* schema : kKernelSchemas) m.def(schema);
  for (const char* schema : kCpuSchemas) m.def(schema);
}

}  // namespace mesm_ops

// The name of the instruction set in use; throws as mesm_ops::cpu_capability does.
extern "C" __attribute__((visibility("default"))) const char* mesm_ops_cpu_capability() {
  return mesm_ops::name_of(mesm_ops::cpu_capability());
}
