#include "top_p_select.h"

#include <math.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "isa.h"
#include "wide.h"

namespace mesm_ops::MESM_ISA {
namespace {

// Bits of a number >= 0 ascend with it; their complement makes an ascending sort descend.
inline uint64_t descending_key(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint32_t>(~bits);
}
inline uint64_t descending_key(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return ~bits;
}

struct Entry {
  uint64_t key;
  int64_t site;
};

// Stable sort by ascending key; the sorted entries end in `entries`.
void sort_entries(Entry* entries, Entry* spare, int64_t count, int key_bytes) {
  constexpr int64_t kFew = 32;  // a radix sort's tables cost more
  if (count <= kFew) {
    for (int64_t i = 1; i < count; ++i) {
      const Entry entry = entries[i];
      int64_t at = i;
      for (; at > 0 && entries[at - 1].key > entry.key; --at) entries[at] = entries[at - 1];
      entries[at] = entry;
    }
    return;
  }
  for (int byte = 0; byte < key_bytes; ++byte) {
    int64_t start[256] = {};
    const int shift = 8 * byte;
    for (int64_t i = 0; i < count; ++i) ++start[(entries[i].key >> shift) & 255];
    int64_t total = 0;
    for (int64_t& at : start) {
      const int64_t number = at;
      at = total;
      total += number;
    }
    for (int64_t i = 0; i < count; ++i) {
      spare[start[(entries[i].key >> shift) & 255]++] = entries[i];
    }
    Entry* sorted = spare;
    spare = entries;
    entries = sorted;
  }
}

typedef float HalfFloats __attribute__((vector_size(kVectorBytes / 2)));
constexpr int64_t kDoubles = kLanes<double>;

inline Vec<double> load_double(const double* from) { return load_vec(from); }
inline Vec<double> load_double(const float* from) {
  HalfFloats value;
  memcpy(&value, from, sizeof(value));
  return __builtin_convertvector(value, Vec<double>);
}
inline void store_double(double* to, const Vec<double>& value) { store_vec(to, value); }
inline void store_double(float* to, const Vec<double>& value) {
  const HalfFloats rounded = __builtin_convertvector(value, HalfFloats);
  memcpy(to, &rounded, sizeof(rounded));
}

// e^x for x <= 0 to a relative 2^-34, which is 0.002 ulp of float; e^-150 for all x below -150.
// x = n ln2 + r, a minimax polynomial in r, n added to the exponent.
inline Vec<double> exp_for(Vec<double> x, float) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding it leaves the nearest integer
  x = x > -150.0 ? x : Vec<double>{} - 150.0;
  const Vec<double> shifted = x * 1.44269504088896341 + kRound;
  const Vec<double> r = x - (shifted - kRound) * 0.693147180559945309;
  Vec<double> p = r * 0.00019790334869280914 + 0.0013944659668097834;
  p = p * r + 0.008333497076683696;
  p = p * r + 0.04166629494365569;
  p = p * r + 0.16666665869007377;
  p = p * r + 0.5000000067685181;
  p = p * (r * r) + r + 1.0;
  return (Vec<double>)((Vec<int64_t>)p + ((Vec<int64_t>)shifted << 52));
}
inline Vec<double> exp_for(Vec<double> x, double) {
  for (int i = 0; i < kDoubles; ++i) x[i] = exp(x[i]);
  return x;
}

// The largest value; NaN if there is a NaN.
template <class A>
A largest_of(const A* values, int64_t count) {
  Vec<A> most = Vec<A>{} - A(INFINITY);
  Vec<A> strange = {};  // 0, or NaN once a value was NaN
  int64_t i = 0;
  for (; i + kLanes<A> <= count; i += kLanes<A>) {
    const Vec<A> value = load_vec(values + i);
    most = value > most ? value : most;
    strange = value == value ? strange : value;
  }
  A largest = -A(INFINITY);
  for (; i < count; ++i) {
    if (!(values[i] <= largest)) largest = values[i];
    if (largest != largest) return largest;
  }
  for (int k = 0; k < kLanes<A>; ++k) {
    if (strange[k] != strange[k]) return strange[k];
    if (most[k] > largest) largest = most[k];
  }
  return largest;
}

// Softmax in double, rounded once; false if the softmax is NaN. exps: `count` doubles.
template <class A>
bool softmax(const A* logits, int64_t count, A* attention, double* exps) {
  const double largest = largest_of(logits, count);
  if (!(largest - largest == 0)) {  // NaN, or infinite: the others have no share
    for (int64_t i = 0; i < count; ++i) attention[i] = static_cast<A>(NAN);
    return false;
  }
  const int64_t whole = count / kDoubles * kDoubles;
  Vec<double> sum = {};
  for (int64_t i = 0; i < whole; i += kDoubles) {
    const Vec<double> e = exp_for(load_double(logits + i) - largest, A());
    store_vec(exps + i, e);
    sum += e;
  }
  A last[kDoubles];
  for (int64_t k = 0; k < kDoubles; ++k) {
    last[k] = whole + k < count ? logits[whole + k] : -A(INFINITY);
  }
  const Vec<double> e = exp_for(load_double(last) - largest, A());
  double total = sum_of<double>(sum);
  for (int64_t k = 0; k < count - whole; ++k) total += exps[whole + k] = e[k];

  const double share = 1 / total;
  for (int64_t i = 0; i < whole; i += kDoubles) {
    store_double(attention + i, load_vec(exps + i) * share);
  }
  for (int64_t i = whole; i < count; ++i) attention[i] = static_cast<A>(exps[i] * share);
  return true;
}

inline int32_t bits_of(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// Writes the chosen lanes' numbers, then undefined values up to kLanes; returns how many.
inline int64_t list_lanes(Vec<int32_t> chosen, int64_t first, int32_t* to) {
#ifdef __AVX512F__
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i numbers = _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(first)));
  const __mmask16 mask = _mm512_test_epi32_mask((__m512i)chosen, (__m512i)chosen);
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(mask, numbers));
  return __builtin_popcount(mask);
#else
  int64_t number = 0;
  for (int k = 0; k < kLanes<int32_t>; ++k) {
    to[number] = static_cast<int32_t>(first + k);
    number += chosen[k] != 0;
  }
  return number;
#endif
}

// Lists the candidates in [begin, end) whose attention has bits in [low, high], ascending; `to`
// must have room for all.
inline int64_t list_between(const float* attention, int64_t begin, int64_t end, int32_t low,
                            int32_t high, int32_t* to) {
  int64_t number = 0;
  int64_t i = begin;
  for (; i + kLanes<float> <= end; i += kLanes<float>) {
    const Vec<int32_t> bits = (Vec<int32_t>)load_vec(attention + i);
    number += list_lanes((bits >= low) & (bits <= high), i, to + number);
  }
  for (; i < end; ++i) {
    const int32_t bits = bits_of(attention[i]);
    to[number] = static_cast<int32_t>(i);
    number += (bits >= low) & (bits <= high);
  }
  return number;
}

// The candidates among which the cut lies, in the order of sites, and the mass before all of these.
struct Contest {
  int64_t number;
  double before;
};

template <class A>
Contest list_all(const A* attention, int64_t count, Entry* entries) {
  for (int64_t i = 0; i < count; ++i) entries[i] = {descending_key(attention[i]), i};
  return {count, 0.0};
}

Contest list_contested(const double* attention, int64_t count, double, Entry* entries, int32_t*) {
  return list_all(attention, count, entries);
}

// Buckets of descending attention, 32 to an octave, the last for all the rest: only the candidates
// in the bucket where the mass reaches p need be sorted. The mass of the buckets before equals, bit
// for bit, a sum in descending order: floats from 2^-30 on are multiples of 2^-53, whose sums below
// 1 are exact in double.
Contest list_contested(const float* attention, int64_t count, double p, Entry* entries,
                       int32_t* listed) {
  constexpr int32_t kLast = 255;
  constexpr int kShift = 18;
  constexpr float kLeast = 0x1p-22f;  // the buckets before the last go down to 2^-8 of the largest
  const float largest = largest_of(attention, count);
  if (!(largest >= kLeast)) return list_all(attention, count, entries);

  const int32_t top = bits_of(largest);
  double mass[kLast + 1] = {};
  const auto add = [&](int32_t below, int64_t i) {
    const int32_t bucket = below >> kShift;
    mass[bucket < kLast ? bucket : kLast] += attention[i];
  };
  int64_t i = 0;
  for (; i + kLanes<float> <= count; i += kLanes<float>) {
    const Vec<int32_t> below = top - (Vec<int32_t>)load_vec(attention + i);
    int32_t each[kLanes<float>];
    memcpy(each, &below, sizeof(each));
    for (int k = 0; k < kLanes<float>; ++k) add(each[k], i + k);
  }
  for (; i < count; ++i) add(top - bits_of(attention[i]), i);

  double before = 0;
  int32_t reached = 0;
  for (; reached < kLast && before + mass[reached] < p; ++reached) before += mass[reached];
  const int32_t high = top - (reached << kShift);
  const int32_t low = reached < kLast ? high - (1 << kShift) + 1 : 0;
  const int64_t number = list_between(attention, 0, count, low, high, listed);
  for (int64_t k = 0; k < number; ++k) {
    entries[k] = {descending_key(attention[listed[k]]), listed[k]};
  }
  return {number, before};
}

// Lists the candidates that come no later than `last` in the order of the nucleus.
int64_t list_kept(const float* attention, int64_t count, int64_t last, int32_t* kept) {
  const int32_t least = bits_of(attention[last]);
  const int64_t number = list_between(attention, 0, last + 1, least, INT32_MAX, kept);
  return number + list_between(attention, last + 1, count, least + 1, INT32_MAX, kept + number);
}
int64_t list_kept(const double* attention, int64_t count, int64_t last, int32_t* kept) {
  const double least = attention[last];
  int64_t number = 0;
  for (int64_t i = 0; i < count; ++i) {
    kept[number] = static_cast<int32_t>(i);
    number += i <= last ? attention[i] >= least : attention[i] > least;
  }
  return number;
}

// scratch: the exponentials, then the entries, then as many spare entries for sorting.
template <class A>
int64_t nucleus(const A* logits, int64_t count, double p, A* attention, int32_t* kept,
                int64_t* scratch) {
  const bool finite = softmax(logits, count, attention, reinterpret_cast<double*>(scratch));
  Entry* entries = reinterpret_cast<Entry*>(scratch);
  Contest contest{0, 0.0};
  if (finite && p < 1.0) contest = list_contested(attention, count, p, entries, kept);
  if (contest.number == 0) {  // all candidates are kept
    for (int64_t i = 0; i < count; ++i) kept[i] = static_cast<int32_t>(i);
    return count;
  }
  sort_entries(entries, entries + count, contest.number, sizeof(A));
  double before = contest.before;
  int64_t won = 0;
  for (; won < contest.number && before < p; ++won) before += attention[entries[won].site];
  return list_kept(attention, count, entries[won - 1].site, kept);
}

template <class A>
void softmax_backward(const A* attention, const A* grad_attention, int64_t count, A* grad_logits) {
  const int64_t whole = count / kDoubles * kDoubles;
  Vec<double> sum = {};
  for (int64_t i = 0; i < whole; i += kDoubles) {
    sum += load_double(attention + i) * load_double(grad_attention + i);
  }
  double mean = sum_of<double>(sum);
  for (int64_t i = whole; i < count; ++i) {
    mean += static_cast<double>(attention[i]) * grad_attention[i];
  }
  for (int64_t i = 0; i < whole; i += kDoubles) {
    const Vec<double> off = load_double(grad_attention + i) - mean;
    store_double(grad_logits + i, load_double(attention + i) * off);
  }
  for (int64_t i = whole; i < count; ++i) {
    grad_logits[i] = static_cast<A>(attention[i] * (grad_attention[i] - mean));
  }
}

template <class A>
void log_softmax_backward(const A* attention, const A* grad_log, int64_t count, A* grad_logits) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += grad_log[i];
  for (int64_t i = 0; i < count; ++i) {
    grad_logits[i] = static_cast<A>(grad_log[i] - attention[i] * sum);
  }
}

template <class T, class A>
void gather(const T* features, int64_t channels, const int32_t* rows, int64_t count,
            const A* attention, int64_t candidates, T* out) {
  for (int64_t i = 0; i < count; ++i) {
    const T* from = features + rows[i] * channels;
    T* to = out + i * channels;
    if (attention == nullptr) {
      memcpy(to, from, sizeof(T) * channels);
      continue;
    }
    const A scale = static_cast<A>(candidates) * attention[rows[i]];
    each_column<T>(channels,
                   [&]<class V>(int64_t c) { store_as<V>(to + c, load_as<V>(from + c) * scale); });
  }
}

// to = grad * scale; returns grad . from, summed in A over kRun vectors and then in double.
template <class T, class A>
double scale_and_dot(const T* grad, const T* from, int64_t channels, A scale, T* to) {
  constexpr int64_t kRun = 32 * kWide<T>;
  double sum = 0;
  int64_t c = 0;
  while (c + kWide<T> <= channels) {
    const int64_t end = channels - c < kRun ? channels : c + kRun;
    Vec<A> part = {};
    for (; c + kWide<T> <= end; c += kWide<T>) {
      const Vec<A> g = load_wide(grad + c);
      part += g * load_wide(from + c);
      store_wide(to + c, g * scale);
    }
    double parts[kWide<T>];
    for (int k = 0; k < kWide<T>; ++k) parts[k] = part[k];
    for (int half = kWide<T> / 2; half > 0; half /= 2) {
      for (int k = 0; k < half; ++k) parts[k] += parts[k + half];
    }
    sum += parts[0];
  }
  for (; c < channels; ++c) {
    sum += static_cast<double>(load(grad[c])) * load(from[c]);
    store(to[c], load(grad[c]) * scale);
  }
  return sum;
}

template <class T, class A>
void scatter(const T* grad_out, int64_t channels, const int32_t* rows, int64_t count,
             const A* attention, int64_t candidates, const T* features, T* grad_features,
             A* moments) {
  const A number = attention == nullptr ? A(1) : static_cast<A>(candidates);
  for (int64_t i = 0; i < count; ++i) {
    const T* grad = grad_out + i * channels;
    T* to = grad_features + rows[i] * channels;
    if (moments == nullptr) {
      memcpy(to, grad, sizeof(T) * channels);
      continue;
    }
    const A scale = attention == nullptr ? A(1) : number * attention[rows[i]];
    const double dot = scale_and_dot(grad, features + rows[i] * channels, channels, scale, to);
    moments[rows[i]] = static_cast<A>(number * dot);
  }
}

}  // namespace

extern constinit const TopPSelectKernels top_p_select = {
    {nucleus<float>, softmax_backward<float>, log_softmax_backward<float>},
    {nucleus<double>, softmax_backward<double>, log_softmax_backward<double>},
    {gather<float, float>, scatter<float, float>},
    {gather<BFloat16, float>, scatter<BFloat16, float>},
    {gather<double, double>, scatter<double, double>},
};

}  // namespace mesm_ops::MESM_ISA
