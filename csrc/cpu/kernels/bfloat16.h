// The stored form of a bfloat16; arithmetic is in float.
#pragma once

#include <stdint.h>

namespace mesm_ops {

struct BFloat16 {
  uint16_t bits;
};

}  // namespace mesm_ops
