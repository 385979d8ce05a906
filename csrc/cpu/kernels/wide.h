// Vectors in the type of computation, loaded from and stored to any stored type.
#pragma once

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "scalar.h"
#include "vec.h"

namespace mesm_ops::MESM_ISA {
namespace {

typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));

template <class T>
constexpr int kWide = kLanes<Compute<T>>;  // elements of a vector of computation

template <class T>
inline Vec<T> load_wide(const T* from) {
  return load_vec(from);
}
inline Vec<float> load_wide(const BFloat16* from) {
  Halves bits;
  memcpy(&bits, from, sizeof(bits));
  return (Vec<float>)(__builtin_convertvector(bits, Words) << 16);
}

template <class T>
inline void store_wide(T* to, const Vec<T>& value) {
  store_vec(to, value);
}
// Rounds as store() of one element does. The instruction would round numbers below 2^-126 to 0.
inline void store_wide(BFloat16* to, const Vec<float>& value) {
#ifdef __AVX512BF16__
  const __m256bh out = _mm512_cvtneps_pbh((__m512)value);
#else
  const Words bits = (Words)value;
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words result = value == value ? rounded : Words{} + 0x7fc0u;
  const Halves out = __builtin_convertvector(result, Halves);
#endif
  memcpy(to, &out, sizeof(out));
}

// V: a vector, or a single element for the columns after the last whole vector.
template <class V, class T>
inline V load_as(const T* from) {
  if constexpr (sizeof(V) == kVectorBytes) {
    return load_wide(from);
  } else {
    return load(*from);
  }
}
template <class V, class T>
inline void store_as(T* to, const V& value) {
  if constexpr (sizeof(V) == kVectorBytes) {
    store_wide(to, value);
  } else {
    store(*to, value);
  }
}

// f<V>(c) for every vector of columns of a row of T, then for every remaining column.
template <class T, class F>
inline void each_column(int64_t columns, const F& f) {
  int64_t c = 0;
  for (; c + kWide<T> <= columns; c += kWide<T>) f.template operator()<Vec<Compute<T>>>(c);
  for (; c < columns; ++c) f.template operator()<Compute<T>>(c);
}

}  // namespace
}  // namespace mesm_ops::MESM_ISA
