// Square transposes in registers.
#pragma once

#include <stdint.h>

#include "vec.h"

namespace mesm_ops::MESM_ISA {
namespace {

// The integers of T's width, which name the lanes of a permutation.
template <class T>
struct LaneIndex {
  using type = int32_t;
};
template <>
struct LaneIndex<double> {
  using type = int64_t;
};
template <class T>
using Lanes = Vec<typename LaneIndex<T>::type>;

// out[k] = lane[k] < lanes ? a[lane[k]] : b[lane[k] - lanes]
template <class T>
inline Vec<T> permute(const Vec<T>& a, const Vec<T>& b, const Lanes<T>& lane) {
#ifdef __clang__
  Vec<T> out;
  for (int k = 0; k < kLanes<T>; ++k) {
    out[k] = lane[k] < kLanes<T> ? a[lane[k]] : b[lane[k] - kLanes<T>];
  }
  return out;
#else
  return __builtin_shuffle(a, b, lane);
#endif
}

// rows[i][k] and rows[k][i] change places: blocks of half the size at each step, down to one lane.
template <class T>
inline void transpose(Vec<T> (&rows)[kLanes<T>]) {
#pragma GCC unroll 8
  for (int block = kLanes<T> / 2; block > 0; block /= 2) {
    Lanes<T> upper, lower;
#pragma GCC unroll 16
    for (int k = 0; k < kLanes<T>; ++k) {
      upper[k] = (k & block) != 0 ? kLanes<T> + k - block : k;
      lower[k] = (k & block) != 0 ? kLanes<T> + k : k + block;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<T>; ++i) {
      if ((i & block) != 0) continue;
      const Vec<T> a = rows[i];
      const Vec<T> b = rows[i + block];
      rows[i] = permute<T>(a, b, upper);
      rows[i + block] = permute<T>(a, b, lower);
    }
  }
}

}  // namespace
}  // namespace mesm_ops::MESM_ISA
