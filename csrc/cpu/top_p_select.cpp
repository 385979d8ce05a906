#include "top_p_select.h"

#include <math.h>
#include <string.h>

#include "isa.h"
#include "scalar.h"

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

// Stable radix sort by ascending key; the sorted entries end in `entries`.
void sort_entries(Entry* entries, Entry* spare, int64_t count, int key_bytes) {
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

// Softmax in double, rounded once; false if it has a NaN.
template <class A>
bool softmax(const A* logits, int64_t count, A* attention) {
  double largest = -INFINITY;
  for (int64_t i = 0; i < count; ++i) {
    if (logits[i] > largest) largest = logits[i];
  }
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += exp(logits[i] - largest);
  for (int64_t i = 0; i < count; ++i) {
    attention[i] = static_cast<A>(exp(logits[i] - largest) / sum);
  }
  return sum == sum;
}

template <class A>
int64_t nucleus(const A* logits, int64_t count, double p, A* attention, int32_t* kept,
                int64_t* scratch) {
  const bool finite = softmax(logits, count, attention);
  if (!finite || p >= 1.0) {
    for (int64_t i = 0; i < count; ++i) kept[i] = static_cast<int32_t>(i);
    return count;
  }
  Entry* entries = reinterpret_cast<Entry*>(scratch);
  for (int64_t i = 0; i < count; ++i) entries[i] = {descending_key(attention[i]), i};
  sort_entries(entries, entries + count, count, sizeof(A));
  double before = 0;
  int64_t number = 0;
  for (; number < count && before < p; ++number) before += attention[entries[number].site];
  // Back into the order of sites: mark, then list.
  memset(kept, 0, sizeof(int32_t) * count);
  for (int64_t i = 0; i < number; ++i) kept[entries[i].site] = 1;
  int64_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (kept[i] != 0) kept[at++] = static_cast<int32_t>(i);
  }
  return number;
}

template <class A>
void softmax_backward(const A* attention, const A* grad_attention, int64_t count, A* grad_logits) {
  double mean = 0;
  for (int64_t i = 0; i < count; ++i) {
    mean += static_cast<double>(attention[i]) * grad_attention[i];
  }
  for (int64_t i = 0; i < count; ++i) {
    grad_logits[i] = static_cast<A>(attention[i] * (grad_attention[i] - mean));
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
    for (int64_t c = 0; c < channels; ++c) store(to[c], load(from[c]) * scale);
  }
}

template <class T, class A>
void scatter(const T* grad_out, int64_t channels, const int32_t* rows, int64_t count,
             const A* attention, int64_t candidates, const T* features, T* grad_features,
             A* grad_attention) {
  for (int64_t i = 0; i < count; ++i) {
    const T* grad = grad_out + i * channels;
    T* to = grad_features + rows[i] * channels;
    if (attention == nullptr) {
      memcpy(to, grad, sizeof(T) * channels);
      continue;
    }
    const A number = static_cast<A>(candidates);
    const A scale = number * attention[rows[i]];
    const T* from = features + rows[i] * channels;
    // Eight sums, so that the loop vectorises without reordering what is written.
    double sums[8] = {};
    int64_t c = 0;
    for (; c + 8 <= channels; c += 8) {
      for (int k = 0; k < 8; ++k) {
        sums[k] += static_cast<double>(load(grad[c + k])) * load(from[c + k]);
        store(to[c + k], load(grad[c + k]) * scale);
      }
    }
    for (; c < channels; ++c) {
      sums[0] += static_cast<double>(load(grad[c])) * load(from[c]);
      store(to[c], load(grad[c]) * scale);
    }
    double sum = 0;
    for (double part : sums) sum += part;
    grad_attention[rows[i]] = static_cast<A>(number * sum);
  }
}

}  // namespace

extern constinit const TopPSelectKernels top_p_select = {
    {nucleus<float>, softmax_backward<float>},
    {nucleus<double>, softmax_backward<double>},
    {gather<float, float>, scatter<float, float>},
    {gather<BFloat16, float>, scatter<BFloat16, float>},
    {gather<double, double>, scatter<double, double>},
};

}  // namespace mesm_ops::MESM_ISA
