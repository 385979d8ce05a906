// tanh over vectors. float: own polynomials, at most 2 ulp off (tests/csrc/cpu measures it);
// double: libm.
#pragma once

#include <math.h>
#include <stdint.h>

#include "vec.h"

namespace mesm_ops::MESM_ISA {
namespace {

// e^x for x in [0, 40]: x = n ln2 + r, a minimax polynomial in r (0.05 ulp), scaled by 2^n.
inline Vec<float> exp_vec(Vec<float> x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer
  constexpr float kInvLn2 = 1.44269504088896341f;
  constexpr float kLn2High = 0.693145751953125f;  // few bits, so n * kLn2High is exact
  constexpr float kLn2Low = 1.42860682030941723e-6f;
  const Vec<float> shifted = x * kInvLn2 + kRound;
  const Vec<float> n = shifted - kRound;
  const Vec<float> r = (x - n * kLn2High) - n * kLn2Low;
  Vec<float> p = r * 0.00138144670593f + 0.00836878041118f;
  p = p * r + 0.0416683942109f;
  p = p * r + 0.166665201078f;
  p = p * r + 0.499999934125f;
  p = p * (r * r) + r + 1.0f;
  const Vec<int32_t> exponent = __builtin_convertvector(n, Vec<int32_t>);
  return p * (Vec<float>)((exponent + 127) << 23);
}

inline Vec<float> tanh_vec(Vec<float> x) {
  const Vec<int32_t> bits = (Vec<int32_t>)x;
  const Vec<float> magnitude = (Vec<float>)(bits & 0x7fffffff);
  // Below 0.625 an odd polynomial (0.08 ulp); above, 1 - 2 / (e^2x + 1), which is 1 from 10 on.
  const Vec<float> u = x * x;
  Vec<float> p = u * -0.00570498699487f + 0.0206390872461f;
  p = p * u + -0.0537397150863f;
  p = p * u + 0.133314421982f;
  p = p * u + -0.33333281942f;
  const Vec<float> small = x + x * (u * p);
  const Vec<float> bounded = magnitude < 10.0f ? magnitude : Vec<float>{} + 10.0f;
  const Vec<float> positive = 1.0f - 2.0f / (exp_vec(bounded + bounded) + 1.0f);
  const Vec<float> large = (Vec<float>)((Vec<int32_t>)positive | (bits & INT32_MIN));
  const Vec<float> value = magnitude < 0.625f ? small : large;
  return x == x ? value : x;
}

inline Vec<double> tanh_vec(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = ::tanh(x[i]);
  return x;
}

}  // namespace
}  // namespace mesm_ops::MESM_ISA
