// Loads elements of any stored type into the type of computation, and stores them back.
#pragma once

#include <stdint.h>
#include <string.h>

#include "bfloat16.h"
#include "isa.h"

namespace mesm_ops::MESM_ISA {
namespace {

template <class T>
struct ComputeType {
  using type = T;
};
template <>
struct ComputeType<BFloat16> {
  using type = float;
};
template <class T>
using Compute = typename ComputeType<T>::type;

[[maybe_unused]] inline float load(const float& value) { return value; }
[[maybe_unused]] inline double load(const double& value) { return value; }
[[maybe_unused]] inline float load(const BFloat16& value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float out;
  memcpy(&out, &bits, sizeof(out));
  return out;
}

[[maybe_unused]] inline void store(float& to, float value) { to = value; }
[[maybe_unused]] inline void store(double& to, double value) { to = value; }
// Rounds to nearest, ties to even; NaN stays NaN.
[[maybe_unused]] inline void store(BFloat16& to, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  to.bits = static_cast<uint16_t>(is_nan ? 0x7fc0u : rounded);
}

}  // namespace
}  // namespace mesm_ops::MESM_ISA
