#include "subm_conv2d.h"

#include "isa.h"
#include "tile.h"

namespace mesm_ops::MESM_ISA {
namespace {

// Sites ascend inside a frame, so the row above is found by one pointer that only moves forward.
void list_pairs(const int32_t* sites, const int32_t* offsets, int64_t width,
                const FrameGroup& group, int64_t group_index, const Rulebook& book) {
  int64_t count[kEarlier] = {};
  const auto emit = [&](int64_t offset, int64_t earlier, int64_t later) {
    const int64_t at = offset * book.rows + group.row_begin + count[offset]++;
    book.earlier[at] = static_cast<int32_t>(earlier);
    book.later[at] = static_cast<int32_t>(later);
  };
  for (int64_t frame = group.frame_begin; frame < group.frame_end; ++frame) {
    int64_t above = offsets[frame];
    for (int64_t row = offsets[frame]; row < offsets[frame + 1]; ++row) {
      book.self[row] = static_cast<int32_t>(row);
      const int64_t site = sites[row];
      const int64_t x = site % width;
      const int64_t up = site - width;
      while (sites[above] < up - 1) ++above;
      for (int64_t i = above; i < row && sites[i] <= up + 1; ++i) {
        const int64_t dx = sites[i] - up;
        if (x + dx >= 0 && x + dx < width) emit(dx + 1, i, row);
      }
      if (x > 0 && row > offsets[frame] && sites[row - 1] == site - 1) emit(3, row - 1, row);
    }
  }
  for (int64_t o = 0; o < kEarlier; ++o) book.counts[group_index * kEarlier + o] = count[o];
}

struct Pairs {
  const int32_t* from;
  const int32_t* to;
  int64_t count;
};

// Rows read (from) and written (to) by one kernel offset in one group.
Pairs pairs_of(const Rulebook& book, const FrameGroup& group, int64_t group_index, int64_t offset) {
  if (offset == kEarlier) {
    const int32_t* self = book.self + group.row_begin;
    return {self, self, group.row_end - group.row_begin};
  }
  const bool is_earlier = offset < kEarlier;
  const int64_t listed = is_earlier ? offset : kOffsets - 1 - offset;
  const int32_t* earlier = book.earlier + listed * book.rows + group.row_begin;
  const int32_t* later = book.later + listed * book.rows + group.row_begin;
  const int64_t count = book.counts[group_index * kEarlier + listed];
  if (is_earlier) return {earlier, later, count};
  return {later, earlier, count};
}

template <class T>
int64_t packed_size(int64_t depth, int64_t columns) {
  return panels_of<T>(columns) * kPanel<T> * kOffsets * depth;
}

template <class T>
void pack(const T* weight, int64_t column_stride, int64_t depth_stride, bool flip, int64_t depth,
          int64_t columns, int64_t panel, T* packed) {
  const int64_t lanes = vectors_of<T>(columns, panel) * kLanes<T>;
  const int64_t first = panel * kPanel<T>;
  packed += first * kOffsets * depth;
  for (int64_t d = 0; d < depth; ++d) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t column = first + lane;
      const T* from = weight + column * column_stride + d * depth_stride;
      for (int64_t o = 0; o < kOffsets; ++o) {
        const int64_t at = flip ? kOffsets - 1 - o : o;
        packed[(o * depth + d) * lanes + lane] = column < columns ? from[at] : T(0);
      }
    }
  }
}

template <class T>
void forward(const T* x, int64_t depth, const T* packed, const T* bias, int64_t columns,
             const Rulebook& book, const FrameGroup& group, int64_t group_index,
             int64_t panel_begin, int64_t panel_end, T* out, int64_t out_stride) {
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const int vectors = vectors_of<T>(columns, panel);
    const int64_t first = panel * kPanel<T>;
    for (int64_t row = group.row_begin; row < group.row_end; ++row) {
      for (int v = 0; v < vectors; ++v) {
        const int64_t column = first + v * kLanes<T>;
        const Vec<T> start = bias == nullptr ? Vec<T>{} : load_vec(bias + column);
        store_vec(out + row * out_stride + column, start);
      }
    }
    const T* w = packed + first * kOffsets * depth;
    for (int64_t o = 0; o < kOffsets; ++o, w += depth * vectors * kLanes<T>) {
      const Pairs pairs = pairs_of(book, group, group_index, o);
      multiply_rows(x, depth, pairs.from, out + first, out_stride, pairs.to, pairs.count, w, depth,
                    vectors);
    }
  }
}

template <class T>
void weight_gradient(const T* x, int64_t depth, const T* grad, int64_t grad_stride, int64_t columns,
                     const Rulebook& book, const FrameGroup* groups, int64_t group_count,
                     int64_t offset, int64_t panel, T* grad_weight) {
  constexpr int64_t kBlock = 256;  // pairs whose rows stay in cache while the tiles pass over them
  const int vectors = vectors_of<T>(columns, panel);
  const int64_t first = panel * kPanel<T>;
  for (int64_t g = 0; g < group_count; ++g) {
    const Pairs pairs = pairs_of(book, groups[g], g, offset);
    for (int64_t at = 0; at < pairs.count; at += kBlock) {
      const int64_t count = pairs.count - at < kBlock ? pairs.count - at : kBlock;
      outer_product(x, depth, pairs.from + at, depth, grad + first, grad_stride, pairs.to + at,
                    count, grad_weight + first, grad_stride, vectors);
    }
  }
}

template <class T>
void column_sums(const T* rows, int64_t stride, int64_t begin, int64_t end, int64_t columns,
                 double* sums) {
  for (int64_t c = 0; c < columns; ++c) sums[c] = 0;
  for (int64_t row = begin; row < end; ++row) {
    const T* at = rows + row * stride;
    for (int64_t c = 0; c < columns; ++c) sums[c] += at[c];
  }
}

}  // namespace

extern constinit const SubmConv2dKernels subm_conv2d = {
    list_pairs,
    {panels_of<float>, packed_size<float>, pack<float>, forward<float>, weight_gradient<float>,
     column_sums<float>},
    {panels_of<double>, packed_size<double>, pack<double>, forward<double>, weight_gradient<double>,
     column_sums<double>},
};

}  // namespace mesm_ops::MESM_ISA
