#include "subm_conv2d.h"

#include "isa.h"
#include "tile.h"
#include "transpose.h"
#include "wide.h"

namespace mesm_ops::MESM_ISA {
namespace {

// Sites ascend inside a frame, so one pointer that only moves forward finds the row above.
void list_pairs(const int32_t* sites, const int32_t* offsets, int64_t width,
                const FrameGroup& group, int64_t group_index, const Rulebook& book) {
  int64_t count[kEarlierTaps] = {};
  const auto emit = [&](int64_t tap, int64_t earlier, int64_t later) {
    const int64_t at = tap * book.rows + group.row_begin + count[tap]++;
    book.earlier[at] = static_cast<int32_t>(earlier - group.row_begin);
    book.later[at] = static_cast<int32_t>(later - group.row_begin);
  };
  for (int64_t frame = group.frame_begin; frame < group.frame_end; ++frame) {
    int64_t above = offsets[frame];
    int64_t line = 0;  // first site of the row's line of the map
    for (int64_t row = offsets[frame]; row < offsets[frame + 1]; ++row) {
      const int64_t site = sites[row];
      if (site >= line + width) line = site / width * width;
      const int64_t x = site - line;
      const int64_t up = site - width;
      while (sites[above] < up - 1) ++above;
      for (int64_t i = above; i < row && sites[i] <= up + 1; ++i) {
        const int64_t dx = sites[i] - up;
        if (x + dx >= 0 && x + dx < width) emit(dx + 1, i, row);
      }
      if (x > 0 && row > offsets[frame] && sites[row - 1] == site - 1) emit(3, row - 1, row);
    }
  }
  for (int64_t tap = 0; tap < kEarlierTaps; ++tap) {
    book.counts[group_index * kEarlierTaps + tap] = static_cast<int32_t>(count[tap]);
  }
}

struct Pairs {
  const int32_t* from;
  const int32_t* to;
  int64_t count;
};

// Rows read (from) and written (to) by one tap in one group.
Pairs pairs_of(const Rulebook& book, const FrameGroup& group, int64_t group_index, int64_t tap) {
  if (tap == kCentreTap) return {book.self, book.self, group.row_end - group.row_begin};
  const bool is_earlier = tap < kEarlierTaps;
  const int64_t listed = is_earlier ? tap : kTaps - 1 - tap;
  const int32_t* earlier = book.earlier + listed * book.rows + group.row_begin;
  const int32_t* later = book.later + listed * book.rows + group.row_begin;
  const int64_t count = book.counts[group_index * kEarlierTaps + listed];
  if (is_earlier) return {earlier, later, count};
  return {later, earlier, count};
}

template <class T>
constexpr int64_t padded_depth(int64_t depth) {
  constexpr int64_t kStep = Product<T>::kStep;
  return (depth + kStep - 1) / kStep * kStep;
}

template <class T>
int64_t panel_size(int64_t depth) {
  return kPanel<T> * kTaps * padded_depth<T>(depth);
}

// Where a packed panel holds (tap, d, lane): [tap][d / step][lane][d % step].
template <class T>
struct PackedPanel {
  T* data;
  int64_t depth, lanes;

  PackedPanel(T* packed, int64_t depth_, int64_t columns, int64_t panel)
      : data(packed),
        depth(padded_depth<T>(depth_)),
        lanes(vectors_of<T>(columns, panel) * kSums<T>) {}

  T* at(int64_t tap, int64_t d, int64_t lane) const {
    constexpr int64_t kStep = Product<T>::kStep;
    return data + ((tap * depth + d / kStep * kStep) * lanes + lane * kStep + d % kStep);
  }
};

// Packs depth [begin, end) and lanes [first, last) of a panel, element by element.
template <class T, class W>
void pack_plain(const W* weight, bool transposed, int64_t depth, int64_t columns, int64_t panel,
                int64_t begin, int64_t end, int64_t first, int64_t last, T* packed) {
  const PackedPanel<T> to(packed, depth, columns, panel);
  for (int64_t d = begin; d < end; ++d) {
    for (int64_t lane = first; lane < last; ++lane) {
      const int64_t column = panel * kPanel<T> + lane;
      const bool real = d < depth && column < columns;
      const W* from = weight + (transposed ? d * columns + column : column * depth + d) * kTaps;
      for (int64_t tap = 0; tap < kTaps; ++tap) {
        store(*to.at(tap, d, lane), real ? load(from[transposed ? kTaps - 1 - tap : tap]) : 0);
      }
    }
  }
}

// rows: [d][tap], a lane for each column; the depths one by one, or for bfloat16 two by two.
template <class T>
inline void store_packed(const PackedPanel<T>& to, int64_t d, int64_t lane, int depths,
                         const Vec<Compute<T>>* rows) {
  for (int64_t tap = 0; tap < kTaps; ++tap) {
#ifdef __AVX512BF16__
    if constexpr (sizeof(T) == 2) {
#pragma GCC unroll 8
      for (int i = 0; i < depths; i += 2) {
        const auto narrow = [&](int k) {
          const __m256bh bits = _mm512_cvtneps_pbh((__m512)rows[k * kTaps + tap]);
          return _mm512_cvtepu16_epi32((__m256i)bits);
        };
        const __m512i pair = _mm512_or_si512(narrow(i), _mm512_slli_epi32(narrow(i + 1), 16));
        _mm512_storeu_si512(to.at(tap, d + i, lane), pair);
      }
    } else
#endif
    {
      for (int i = 0; i < depths; ++i) store_vec(to.at(tap, d + i, lane), rows[i * kTaps + tap]);
    }
  }
}

// Vectors of columns, kSums depths at a time, by transposing (column, (d, tap)) to
// ((d, tap), column). Returns up to which depth, and for how many lanes, the panel is packed.
struct Packed {
  int64_t depth, lanes;
};
template <class T, class W>
Packed pack_columns(const W* weight, int64_t depth, int64_t columns, int64_t panel,
                    const PackedPanel<T>& to) {
  using A = Compute<T>;
  constexpr int kVector = kSums<T>;
  const int64_t whole = depth / kVector * kVector;
  int64_t lane = 0;
  for (; lane < to.lanes && panel * kPanel<T> + lane + kVector <= columns; lane += kVector) {
    const W* from = weight + (panel * kPanel<T> + lane) * depth * kTaps;
    for (int64_t d = 0; d < whole; d += kVector) {
      Vec<A> rows[kTaps * kVector];
      for (int64_t block = 0; block < kTaps; ++block) {
        Vec<A> square[kVector];
#pragma GCC unroll 16
        for (int i = 0; i < kVector; ++i) {
          square[i] = load_wide(from + (i * depth + d) * kTaps + block * kVector);
        }
        transpose<A>(square);
#pragma GCC unroll 16
        for (int i = 0; i < kVector; ++i) rows[block * kVector + i] = square[i];
      }
      store_packed<T>(to, d, lane, kVector, rows);
    }
  }
  return {whole, lane};
}

// The same for a weight (depth, columns, 3, 3) to be turned: (column, tap) to (8 - tap, column) for
// each depth. A load of a row of taps reads beyond the row, so this function skips the last depth.
template <class T, class W>
Packed pack_turned(const W* weight, int64_t depth, int64_t columns, int64_t panel,
                   const PackedPanel<T>& to) {
  using A = Compute<T>;
  constexpr int kVector = kSums<T>;
  constexpr int kStep = Product<T>::kStep;
  if constexpr (kVector < kTaps) {
    return {0, 0};
  } else {
    const int64_t whole = depth > 0 ? (depth - 1) / kStep * kStep : 0;
    int64_t lane = 0;
    for (; lane < to.lanes && panel * kPanel<T> + lane + kVector <= columns; lane += kVector) {
      for (int64_t d = 0; d < whole; d += kStep) {
        Vec<A> rows[kTaps * kStep];
        for (int step = 0; step < kStep; ++step) {
          const W* from = weight + ((d + step) * columns + panel * kPanel<T> + lane) * kTaps;
          Vec<A> square[kVector];
#pragma GCC unroll 16
          for (int i = 0; i < kVector; ++i) square[i] = load_wide(from + i * kTaps);
          transpose<A>(square);
#pragma GCC unroll 9
          for (int tap = 0; tap < kTaps; ++tap) {
            rows[step * kTaps + tap] = square[kTaps - 1 - tap];
          }
        }
        store_packed<T>(to, d, lane, kStep, rows);
      }
    }
    return {whole, lane};
  }
}

template <class T, class W>
void pack(const W* weight, bool transposed, int64_t depth, int64_t columns, int64_t panel,
          T* packed) {
  const PackedPanel<T> to(packed, depth, columns, panel);
  const Packed done = transposed ? pack_turned<T>(weight, depth, columns, panel, to)
                                 : pack_columns<T>(weight, depth, columns, panel, to);
  pack_plain<T>(weight, transposed, depth, columns, panel, done.depth, to.depth, 0, done.lanes,
                packed);
  pack_plain<T>(weight, transposed, depth, columns, panel, 0, to.depth, done.lanes, to.lanes,
                packed);
}

template <class T>
void convolve(const T* x, int64_t depth, const T* packed, int64_t columns, const Rulebook& book,
              const FrameGroup& group, int64_t group_index, int64_t panel, Compute<T>* sums,
              const T* next, int64_t next_size) {
  const PackedPanel<T> weights(const_cast<T*>(packed), depth, columns, panel);
  const int vectors = vectors_of<T>(columns, panel);
  const T* const end = next + next_size;
  const auto fetch = [&] {
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
    for (int i = 0; i < 6 && next < end; ++i, next += kLine) __builtin_prefetch(next, 0, 2);
  };
  const auto multiply = [&]<bool kFirst>(int64_t tap) {
    const Pairs pairs = pairs_of(book, group, group_index, tap);
    multiply_rows<T, kFirst>(x, depth, pairs.from, sums, kPanel<T>, pairs.to, pairs.count,
                             weights.at(tap, 0, 0), weights.depth, vectors, fetch);
  };
  if (depth == 0) memset(sums, 0, sizeof(*sums) * kPanel<T> * (group.row_end - group.row_begin));
  // The centre tap pairs every row with itself, so the sums need not be cleared.
  multiply.template operator()<true>(kCentreTap);
  for (int64_t tap = 0; tap < kTaps; ++tap) {
    if (tap != kCentreTap) multiply.template operator()<false>(tap);
  }
}

template <bool kScale, bool kShift, bool kRelu, class T>
void store_rows(const Compute<T>* sums, int64_t rows, int64_t count, const Compute<T>* scale,
                const Compute<T>* shift, T* out, int64_t stride) {
  using A = Compute<T>;
  for (int64_t row = 0; row < rows; ++row, sums += kPanel<T>, out += stride) {
    for (int64_t c = 0; c < count; ++c) {
      A y = sums[c];
      if (kScale) y *= scale[c];
      if (kShift) y += shift[c];
      store(out[c], kRelu && y < A(0) ? A(0) : y);  // a NaN passes, as in torch
    }
  }
}

template <class T>
void store_panel(const Compute<T>* sums, int64_t rows, int64_t columns, int64_t panel,
                 const Compute<T>* scale, const Compute<T>* shift, bool relu, T* out) {
  const int64_t first = panel * kPanel<T>;
  const int64_t count = columns - first < kPanel<T> ? columns - first : kPanel<T>;
  if (scale != nullptr) scale += first;
  if (shift != nullptr) shift += first;
  const auto run = scale != nullptr
                       ? (relu ? store_rows<true, true, true, T> : store_rows<true, true, false, T>)
                   : shift != nullptr ? store_rows<false, true, false, T>
                                      : store_rows<false, false, false, T>;
  run(sums, rows, count, scale, shift, out + first, columns);
}

constexpr int64_t kBlock = 128;  // pairs whose rows stay in cache while the tiles pass over them

#ifdef __AVX512BF16__
// Pairs of rows interleaved, so that a step of depth is two rows: ys[i / 2][column][i % 2].
// An odd last row, and columns up to to_stride, are filled up with zeros.
void interleave(const BFloat16* y, int64_t stride, const int32_t* rows, int64_t count,
                int64_t columns, int64_t to_stride, BFloat16* ys) {
  constexpr int kColumns = kVectorBytes / 2;
  alignas(64) uint16_t lower[kColumns], upper[kColumns];
  for (int k = 0; k < kColumns; ++k) {
    lower[k] = static_cast<uint16_t>(k / 2 + k % 2 * kColumns);
    upper[k] = static_cast<uint16_t>(lower[k] + kColumns / 2);
  }
  const __m512i low = _mm512_load_si512(lower);
  const __m512i high = _mm512_load_si512(upper);
  for (int64_t i = 0; i < count; i += 2, ys += 2 * to_stride) {
    const BFloat16* even = y + rows[i] * stride;
    const bool paired = i + 1 < count;
    const BFloat16* odd = paired ? y + rows[i + 1] * stride : even;
    int64_t c = 0;
    for (; c + kColumns <= columns; c += kColumns) {
      const __m512i a = _mm512_loadu_si512(even + c);
      const __m512i b = paired ? _mm512_loadu_si512(odd + c) : _mm512_setzero_si512();
      _mm512_storeu_si512(ys + 2 * c, _mm512_permutex2var_epi16(a, low, b));
      _mm512_storeu_si512(ys + 2 * c + kColumns, _mm512_permutex2var_epi16(a, high, b));
    }
    for (; c < columns; ++c) {
      ys[2 * c] = even[c];
      ys[2 * c + 1] = paired ? odd[c] : BFloat16{0};
    }
    memset(ys + 2 * columns, 0, 2 * (to_stride - columns) * sizeof(BFloat16));
  }
}
#endif

template <class T>
int64_t scratch_size(int64_t depth) {
  return Product<T>::kStep == 1 ? 0 : kBlock * (depth + kPanel<T>);
}

template <class T>
void weight_gradient(const T* x, int64_t depth, int64_t begin, int64_t end, const T* grad,
                     int64_t grad_stride, int64_t columns, const Rulebook& book,
                     const FrameGroup& group, int64_t group_index, int64_t tap, int64_t panel,
                     Compute<T>* grad_weight, [[maybe_unused]] T* scratch) {
  const int vectors = vectors_of<T>(columns, panel);
  const int64_t first = panel * kPanel<T>;
  const Pairs pairs = pairs_of(book, group, group_index, tap);
  Compute<T>* to = grad_weight + begin * grad_stride + first;
  for (int64_t at = 0; at < pairs.count; at += kBlock) {
    const int64_t count = pairs.count - at < kBlock ? pairs.count - at : kBlock;
    if constexpr (Product<T>::kStep == 1) {
      outer_product(x + begin, depth, pairs.from + at, end - begin, grad + first, grad_stride,
                    pairs.to + at, count, to, grad_stride, vectors);
    } else {
      const int64_t lanes = vectors * kSums<T>;
      const int64_t real = columns - first < lanes ? columns - first : lanes;
      T* xs = scratch;
      T* ys = scratch + kBlock * (end - begin);
      interleave(x + begin, depth, pairs.from + at, count, end - begin, end - begin, xs);
      interleave(grad + first, columns, pairs.to + at, count, real, lanes, ys);
      outer_product(xs, 2 * (end - begin), book.self, end - begin, ys, 2 * lanes, book.self,
                    (count + 1) / 2, to, grad_stride, vectors);
    }
  }
}

template <class A>
void unpack(const A* from, int64_t parts, int64_t stride, int64_t depth, int64_t begin, int64_t end,
            A* to) {
  constexpr int kVector = kLanes<A>;
  const int64_t part = kTaps * depth * stride;
  int64_t column = begin;
  const int64_t whole = depth / kVector * kVector;
  const auto plain = [&](int64_t c, int64_t d_begin) {
    for (int64_t d = d_begin; d < depth; ++d) {
      for (int64_t tap = 0; tap < kTaps; ++tap) {
        const A* at = from + (tap * depth + d) * stride + c;
        A sum = at[0];
        for (int64_t i = 1; i < parts; ++i) sum += at[i * part];
        to[(c * depth + d) * kTaps + tap] = sum;
      }
    }
  };
  for (; column + kVector <= end; column += kVector) {
    for (int64_t d = 0; d < whole; d += kVector) {
      for (int64_t block = 0; block < kTaps; ++block) {
        Vec<A> rows[kVector];
#pragma GCC unroll 16
        for (int i = 0; i < kVector; ++i) {
          const int64_t flat = block * kVector + i;
          const A* at = from + (flat % kTaps * depth + d + flat / kTaps) * stride + column;
          rows[i] = load_vec(at);
          for (int64_t k = 1; k < parts; ++k) rows[i] += load_vec(at + k * part);
        }
        transpose<A>(rows);
#pragma GCC unroll 16
        for (int i = 0; i < kVector; ++i) {
          store_vec(to + ((column + i) * depth + d) * kTaps + block * kVector, rows[i]);
        }
      }
    }
    for (int i = 0; i < kVector; ++i) plain(column + i, whole);
  }
  for (; column < end; ++column) plain(column, 0);
}

template <class T>
void column_sums(const T* rows, int64_t stride, int64_t begin, int64_t end, int64_t columns,
                 double* sums) {
  for (int64_t c = 0; c < columns; ++c) sums[c] = 0;
  for (int64_t row = begin; row < end; ++row) {
    const T* at = rows + row * stride;
    for (int64_t c = 0; c < columns; ++c) sums[c] += load(at[c]);
  }
}

template <class T>
constexpr SubmConv2dKernelsOf<T, Compute<T>> kKernels = {
    kPanel<T>,      panel_size<T>,   pack<T, Compute<T>>, pack<T, T>,         convolve<T>,
    store_panel<T>, scratch_size<T>, weight_gradient<T>,  unpack<Compute<T>>, column_sums<T>,
};

}  // namespace

extern constinit const SubmConv2dKernels subm_conv2d = {
    list_pairs,
    kKernels<float>,
#ifdef __AVX512BF16__
    &kKernels<BFloat16>,
#else
    nullptr,
#endif
    kKernels<double>,
};

}  // namespace mesm_ops::MESM_ISA
