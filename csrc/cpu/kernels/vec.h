// GCC/Clang vectors of this instruction set's register width.
#pragma once

#include <stdint.h>
#include <string.h>

#include "isa.h"

namespace mesm_ops::MESM_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

// A register tile is kTileRows rows of kTileVectors vectors: its sums, a step's weights and one
// operand fill the registers.
constexpr int kTileRows = 6;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif

template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
struct VecType;
template <>
struct VecType<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VecType<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VecType<int32_t> {
  typedef int32_t type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VecType<int64_t> {
  typedef int64_t type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VecType<T>::type;

template <class T>
inline Vec<T> load_vec(const T* from) {
  Vec<T> value;
  memcpy(&value, from, sizeof(value));
  return value;
}

template <class T>
inline void store_vec(T* to, const Vec<T>& value) {
  memcpy(to, &value, sizeof(value));
}

template <class T>
inline T sum_of(const Vec<T>& value) {
  T sum = 0;
  for (int i = 0; i < kLanes<T>; ++i) sum += value[i];
  return sum;
}

}  // namespace
}  // namespace mesm_ops::MESM_ISA
