// sparse_max_pool2d of one frame, by one block: 2x2 windows, stride 2, over active sites only.
//
// The frame's rows go into a table of its windows; the windows with a row are the output in order.
#pragma once

#include "look_back.cuh"
#include "rows.cuh"

namespace mesm_ops {

constexpr int kWindow = 4;            // sites of a window, in their order
constexpr int kSharedWindows = 1024;  // windows of a frame that fit into shared memory

// The rows at a window's sites, -1 where there is none.
struct alignas(16) Window {
  int32_t rows[kWindow];
  MESM_BLOCK bool is_active() const { return (rows[0] & rows[1] & rows[2] & rows[3]) >= 0; }
};

template <class P>
struct SparseMaxPool2d {
  using Rows = Pack<int32_t, P::kSize>;

  const P* features;  // (rows, packs)
  const int32_t* sites;
  const int32_t* offsets;  // (frames + 1,)
  int64_t frames, rows, out_rows;
  int32_t height, width, packs;
  P* out;  // (out_rows, packs), out_rows = min(rows, frames * windows)
  int32_t* out_sites;
  int32_t* out_offsets;
  Rows* argmax;    // (out_rows, packs), -1 in padding rows
  Window* tables;  // (frames, windows), where a frame's table does not fit into shared memory
  LookBack look_back;

  MESM_BLOCK int32_t windows() const { return (height / 2) * (width / 2); }  // of a frame
};

struct SparseMaxPool2dShared {
  alignas(16) char exchange[Exchange::kBytes];
  Window table[kSharedWindows];
  int64_t frame, before;
};

// table: complete after the next `sync`.
MESM_BLOCK void fill_windows(const int32_t* sites, RowRange rows, int32_t height, int32_t width,
                             Window* table) {
  const int32_t out_width = width / 2;
  for_each(int64_t{height / 2} * out_width,
           [&](int64_t i) { table[i] = Window{{-1, -1, -1, -1}}; });
  sync();
  for_each(rows.end - rows.begin, [&](int64_t i) {
    const int32_t site = sites[rows.begin + i];
    if (site < 0 || site >= int64_t{height} * width) return;
    const int32_t y = site / width;
    const int32_t x = site % width;
    if (y / 2 >= height / 2 || x / 2 >= out_width) return;  // an odd last row or column
    table[y / 2 * out_width + x / 2].rows[y % 2 * 2 + x % 2] = static_cast<int32_t>(rows.begin + i);
  });
}

// The maximum of one pack over a window's rows, and the row that has the maximum: the first of
// equals, and the first NaN before all.
template <class P>
MESM_BLOCK void reduce_window(const SparseMaxPool2d<P>& op, const Window& window, int32_t column,
                              P& best, typename SparseMaxPool2d<P>::Rows& from) {
  best = P{};
  for (auto& row : from.of) row = -1;
  MESM_UNROLL
  for (int k = 0; k < kWindow; ++k) {
    const int32_t row = window.rows[k];
    if (row < 0) continue;
    const P pack = op.features[static_cast<int64_t>(row) * op.packs + column];
    MESM_UNROLL
    for (int i = 0; i < P::kSize; ++i) {
      const float candidate = static_cast<float>(pack.of[i]);
      const float maximum = static_cast<float>(best.of[i]);
      const bool wins =
          from.of[i] < 0 || candidate > maximum || (candidate != candidate && maximum == maximum);
      best.of[i] = wins ? pack.of[i] : best.of[i];
      from.of[i] = wins ? row : from.of[i];
    }
  }
}

template <class P>
MESM_BLOCK void pad_pooled(const SparseMaxPool2d<P>& op, RowRange rows) {
  typename SparseMaxPool2d<P>::Rows none;
  for (auto& row : none.of) row = -1;
  zero_rows(op.out, rows, op.packs);
  fill(op.out_sites, rows, 0);
  fill(op.argmax, {rows.begin * op.packs, rows.end * op.packs}, none);
}

// One block's part of the launch: a frame, and a share of the rows that are padding in any case.
// Each frame also clears as many padding rows, counted from the end, as it left unused of its upper
// bound: the frame's rows or its windows, whichever bounds the number of output rows.
template <class P>
MESM_BLOCK void pool_frame(const SparseMaxPool2d<P>& op, SparseMaxPool2dShared& shared) {
  if (thread() == 0) shared.frame = op.look_back.take_part();
  sync();
  const int64_t frame = shared.frame;
  const bool by_rows = op.out_rows == op.rows;
  const int64_t needed = by_rows ? row_at(op.offsets, op.frames, op.rows) : op.out_rows;
  pad_pooled(op, share_of(needed, op.out_rows, frame, op.frames > 0 ? op.frames : 1));
  if (frame == 0 && thread() == 0) op.out_offsets[0] = 0;
  if (frame >= op.frames) return;

  const int32_t windows = op.windows();
  const RowRange rows = rows_of_frame(op.offsets, frame, op.rows);
  Window* table = windows <= kSharedWindows ? shared.table : op.tables + frame * windows;
  fill_windows(op.sites, rows, op.height, op.width, table);
  sync();
  Exchange exchange{shared.exchange};
  const auto is_active = [&](int32_t i) { return table[i].is_active(); };
  const Count active = count_where(windows, is_active, exchange);
  if (thread() == 0) op.look_back.post(frame, active.number);
  if (warp() == 0) {
    const uint64_t sum = op.look_back.sum_before(frame, active.number);
    if (lane() == 0) shared.before = static_cast<int64_t>(sum);
  }
  sync();

  // Offsets that do not ascend may name more rows than there are.
  const int64_t before = shared.before < op.out_rows ? shared.before : op.out_rows;
  const int64_t after = before + active.number < op.out_rows ? before + active.number : op.out_rows;
  const int32_t number = static_cast<int32_t>(after - before);
  if (thread() == 0) op.out_offsets[frame + 1] = static_cast<int32_t>(after);
  int32_t* out_sites = op.out_sites + before;
  emit_where(windows, is_active, active, [&](int32_t i, int32_t place) {
    if (place < number) out_sites[place] = i;
  });
  sync();

  const RowGroups by(op.packs);
  for (int32_t place = by.group; place < number; place += by.groups) {
    const Window window = table[out_sites[place]];
    for (int32_t column = by.column; column < op.packs; column += by.width) {
      P best;
      typename SparseMaxPool2d<P>::Rows from;
      reduce_window(op, window, column, best, from);
      op.out[(before + place) * op.packs + column] = best;
      op.argmax[(before + place) * op.packs + column] = from;
    }
  }
  const RowRange bound =
      by_rows ? rows : RowRange{frame * windows, (frame + 1) * static_cast<int64_t>(windows)};
  const int64_t end = needed - (bound.begin - before);
  const int64_t begin = end - (bound.end - bound.begin - number);
  if (begin >= after && end <= op.out_rows) pad_pooled(op, {begin, end});
}

template <class P>
struct SparseMaxPool2dBackward {
  using Rows = Pack<int32_t, P::kSize>;

  const P* grad_out;   // (out_rows, packs)
  const Rows* argmax;  // (out_rows, packs)
  int64_t out_rows, rows;
  int32_t packs;
  typename P::Element* grad_in;  // (rows, packs), zero at first
};

// One block's share of the rows. Windows do not overlap: no two outputs of a channel name the same
// row.
template <class P>
MESM_BLOCK void scatter_gradient(const SparseMaxPool2dBackward<P>& op, int64_t block,
                                 int64_t blocks) {
  const RowGroups by(op.packs);
  const int64_t channels = static_cast<int64_t>(op.packs) * P::kSize;
  for (int64_t row = block * by.groups + by.group; row < op.out_rows; row += blocks * by.groups) {
    for (int32_t column = by.column; column < op.packs; column += by.width) {
      const P grad = op.grad_out[row * op.packs + column];
      const auto from = op.argmax[row * op.packs + column];
      MESM_UNROLL
      for (int i = 0; i < P::kSize; ++i) {
        if (from.of[i] < 0 || from.of[i] >= op.rows) continue;
        op.grad_in[from.of[i] * channels + column * P::kSize + i] = grad.of[i];
      }
    }
  }
}

}  // namespace mesm_ops
