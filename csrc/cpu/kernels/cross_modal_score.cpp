#include "cross_modal_score.h"

#include "isa.h"
#include "tanh.h"
#include "tile.h"
#include "transpose.h"
#include "wide.h"

namespace mesm_ops::MESM_ISA {
namespace {

template <class T>
int64_t packed_size(int64_t depth, int64_t columns) {
  return panels_of<T>(columns) * kPanel<T> * depth;
}

template <class T>
void pack(const T* weight, int64_t column_stride, int64_t depth_stride, int64_t depth,
          int64_t columns, int64_t panel, T* packed) {
  constexpr int64_t kSquare = kLanes<T>;
  const int64_t lanes = vectors_of<T>(columns, panel) * kLanes<T>;
  const int64_t first = panel * kPanel<T>;
  packed += first * depth;
  // Whole squares are transposed: one by one, each element would read another line of cache.
  const int64_t real = columns - first < lanes ? columns - first : lanes;
  const int64_t whole_lanes = depth_stride == 1 ? real / kSquare * kSquare : 0;
  const int64_t whole = depth / kSquare * kSquare;
  for (int64_t lane = 0; lane < whole_lanes; lane += kSquare) {
    for (int64_t d = 0; d < whole; d += kSquare) {
      Vec<T> rows[kSquare];
#pragma GCC unroll 16
      for (int i = 0; i < kSquare; ++i) {
        rows[i] = load_vec(weight + (first + lane + i) * column_stride + d);
      }
      transpose<T>(rows);
#pragma GCC unroll 16
      for (int i = 0; i < kSquare; ++i) store_vec(packed + (d + i) * lanes + lane, rows[i]);
    }
  }
  for (int64_t d = 0; d < depth; ++d) {
    for (int64_t lane = d < whole ? whole_lanes : 0; lane < lanes; ++lane) {
      const int64_t column = first + lane;
      T value = 0;
      if (column < columns) {  // an element may be a pair of bfloat16, aligned to one bfloat16
        memcpy(&value, weight + column * column_stride + d * depth_stride, sizeof(value));
      }
      packed[d * lanes + lane] = value;
    }
  }
}

template <class T>
void multiply(const T* x, int64_t x_stride, int64_t depth, const int32_t* rows, int64_t count,
              const T* packed, int64_t columns, Compute<T>* out, int64_t out_stride) {
  for (int64_t panel = 0; panel < panels_of<T>(columns); ++panel) {
    const int64_t first = panel * kPanel<T>;
    multiply_rows<T, false>(x, x_stride, rows, out + first, out_stride, rows, count,
                            packed + first * depth, depth, vectors_of<T>(columns, panel), [] {});
  }
}

// Sums the lanes of each row, for as many rows as there are lanes.
template <class T>
inline Vec<T> sums_of_rows(Vec<T> (&rows)[kLanes<T>]) {
  transpose<T>(rows);
  Vec<T> sum = rows[0];
#pragma GCC unroll 16
  for (int i = 1; i < kLanes<T>; ++i) sum += rows[i];
  return sum;
}

template <class T>
void activate(T* z, int64_t stride, int64_t count, const T* score, T bias, int64_t columns,
              T* logits) {
  const int64_t whole = columns / kLanes<T> * kLanes<T>;
  for (int64_t at = 0; at < count; at += kLanes<T>) {
    const int64_t number = count - at < kLanes<T> ? count - at : kLanes<T>;
    Vec<T> sums[kLanes<T>] = {};
    for (int64_t i = 0; i < number; ++i) {
      T* row = z + (at + i) * stride;
      Vec<T> sum = {};
      for (int64_t c = 0; c < whole; c += kLanes<T>) {
        const Vec<T> t = tanh_vec(load_vec(row + c));
        store_vec(row + c, t);
        sum += t * load_vec(score + c);
      }
      if (whole < columns) {
        Vec<T> t = tanh_vec(load_vec(row + whole));
        // Padding lanes are NaN where the features are infinite.
        for (int64_t lane = columns - whole; lane < kLanes<T>; ++lane) t[lane] = 0;
        store_vec(row + whole, t);
        sum += t * load_vec(score + whole);
      }
      sums[i] = sum;
    }
    const Vec<T> logit = sums_of_rows<T>(sums) + bias;
    memcpy(logits + at, &logit, sizeof(T) * number);
  }
}

// Rows that are summed in T before the sum is added in double: for float the sum is off by at most
// 32 * 2^-24 of the sum of magnitudes.
constexpr int64_t kRun = 32;

template <class T>
inline void add_lanes(const Vec<T>& part, int64_t c, int64_t columns, double* sums) {
  T parts[kLanes<T>];
  memcpy(parts, &part, sizeof(parts));
  const int64_t lanes = columns - c < kLanes<T> ? columns - c : kLanes<T>;
  for (int64_t k = 0; k < lanes; ++k) sums[c + k] += parts[k];
}

template <class T>
void activate_backward(T* t, int64_t stride, int64_t count, const T* score, const T* grad,
                       int64_t columns, double* score_sums) {
  for (int64_t c = 0; c < columns; ++c) score_sums[c] = 0;
  for (int64_t at = 0; at < count; at += kRun) {
    const int64_t end = count - at < kRun ? count : at + kRun;
    for (int64_t c = 0; c < columns; c += kLanes<T>) {
      const Vec<T> slope = load_vec(score + c);
      Vec<T> sum = {};
      for (int64_t i = at; i < end; ++i) {
        const Vec<T> value = load_vec(t + i * stride + c);
        sum += value * grad[i];
        store_vec(t + i * stride + c, (slope * grad[i]) * (T(1) - value * value));
      }
      add_lanes<T>(sum, c, columns, score_sums);
    }
  }
}

template <class T>
void column_sums(const T* x, int64_t stride, int64_t count, int64_t columns, double* sums) {
  for (int64_t c = 0; c < columns; ++c) sums[c] = 0;
  for (int64_t at = 0; at < count; at += kRun) {
    const int64_t end = count - at < kRun ? count : at + kRun;
    for (int64_t c = 0; c < columns; c += kLanes<T>) {
      Vec<T> sum = {};
      for (int64_t i = at; i < end; ++i) sum += load_vec(x + i * stride + c);
      add_lanes<T>(sum, c, columns, sums);
    }
  }
}

template <class T>
void outer(const T* x, int64_t x_stride, int64_t depth, const T* y, int64_t y_stride,
           const int32_t* rows, int64_t count, int64_t columns, int64_t panel, T* grad_weight,
           int64_t grad_stride) {
  constexpr int64_t kBlock = 256;
  const int64_t first = panel * kPanel<T>;
  for (int64_t at = 0; at < count; at += kBlock) {
    const int64_t n = count - at < kBlock ? count - at : kBlock;
    outer_product(x, x_stride, rows + at, depth, y + first, y_stride, rows + at, n,
                  grad_weight + first, grad_stride, vectors_of<T>(columns, panel));
  }
}

void widen(const BFloat16* rows, int64_t columns, int64_t count, int64_t stride, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    const BFloat16* row = rows + i * columns;
    float* out = to + i * stride;
    each_column<float>(columns,
                       [&]<class V>(int64_t c) { store_as<V>(out + c, load_as<V>(row + c)); });
    memset(out + columns, 0, sizeof(float) * (stride - columns));
  }
}

void narrow(const float* rows, int64_t stride, int64_t count, int64_t columns, BFloat16* to) {
  for (int64_t i = 0; i < count; ++i) {
    const float* row = rows + i * stride;
    BFloat16* out = to + i * columns;
    each_column<float>(columns,
                       [&]<class V>(int64_t c) { store_as<V>(out + c, load_as<V>(row + c)); });
  }
}

#ifdef __AVX512BF16__
// Two neighbours in a row of weights are moved like one float.
void pack_pairs(const BFloat16* weight, int64_t depth, int64_t columns, int64_t panel,
                BFloat16* packed) {
  static_assert(kPanel<BFloat16> == kPanel<float>);
  pack(reinterpret_cast<const float*>(weight), depth / 2, 1, depth / 2, columns, panel,
       reinterpret_cast<float*>(packed));
}

constexpr BFloat16ProductKernels kBFloat16 = {pack_pairs, multiply<BFloat16>};
#endif

}  // namespace

extern constinit const CrossModalScoreKernels cross_modal_score = {
    {panels_of<float>, packed_size<float>, pack<float>, multiply<float>, activate<float>,
     activate_backward<float>, outer<float>, column_sums<float>},
    {panels_of<double>, packed_size<double>, pack<double>, multiply<double>, activate<double>,
     activate_backward<double>, outer<double>, column_sums<double>},
#ifdef __AVX512BF16__
    &kBFloat16,
#else
    nullptr,
#endif
    widen,
    narrow,
};

}  // namespace mesm_ops::MESM_ISA
