// top_p_select of one frame, by one block.
#pragma once

#include "look_back.cuh"
#include "neighbours.cuh"
#include "nucleus.cuh"
#include "rows.cuh"

namespace mesm_ops {

// A frame of up to as many candidates is held in shared memory; of more, where its attention goes.
constexpr int kHeld = 4096;

template <class P>
struct TopPSelect {
  const P* features;  // (rows, packs)
  const int32_t* sites;
  const int32_t* offsets;  // (frames + 1,)
  const float* logits;
  double p;
  bool weighted;
  int64_t frames, rows;
  int32_t packs;
  P* out;
  int32_t* out_sites;
  int32_t* out_offsets;
  int32_t* out_rows;
  float* attention;
  LookBack look_back;
  Neighbours neighbours;  // of what is kept, where they are asked for
};

struct TopPSelectShared {
  alignas(16) char exchange[Exchange::kBytes];
  float weights[kHeld];
  uint16_t kept[kHeld];
  int64_t frame, before;
};

struct TopPSelectNeighboursShared : TopPSelectShared {
  NeighboursShared neighbours;
};

// out[i] = features[row_of(i)], scaled by scale_of(i); several rows are under way at a time.
template <class P, class RowOf, class ScaleOf>
MESM_BLOCK void gather_rows(const P* features, int32_t packs, int32_t number, const RowOf& row_of,
                            bool weighted, const ScaleOf& scale_of, P* out) {
  constexpr int kAtATime = 2;
  const RowGroups by(packs);
  for (int32_t first = by.group; first < number; first += kAtATime * by.groups) {
    for (int32_t column = by.column; column < packs; column += by.width) {
      P held[kAtATime];
      MESM_UNROLL
      for (int k = 0; k < kAtATime; ++k) {
        const int32_t i = first + k * by.groups;
        if (i < number) held[k] = features[static_cast<int64_t>(row_of(i)) * packs + column];
      }
      MESM_UNROLL
      for (int k = 0; k < kAtATime; ++k) {
        const int32_t i = first + k * by.groups;
        if (i >= number) continue;
        out[static_cast<int64_t>(i) * packs + column] =
            weighted ? scaled(held[k], scale_of(i)) : held[k];
      }
    }
  }
}

// Padding rows of what is written: 0, and -1 for the row they come from.
template <bool neighbours, class P>
MESM_BLOCK void pad_rows(const TopPSelect<P>& to, RowRange rows) {
  if (neighbours) fill(to.neighbours.table, {rows.begin * kOffsets, rows.end * kOffsets}, -1);
  zero_rows(to.out, rows, to.packs);
  fill(to.out_sites, rows, 0);
  fill(to.out_rows, rows, -1);
}

// The frame's kept rows, and as many padding rows as it drops. Of the padding, rows that were
// padding before come last, so that each block knows its share of them at once; those that frames
// dropped come before, the first frame's last. weights: in shared memory if `held`.
template <bool held, bool neighbours, class P, class Shared>
MESM_BLOCK void select_candidates(const TopPSelect<P>& op, int64_t frame, RowRange rows,
                                  int64_t active, Shared& shared) {
  const int32_t count = static_cast<int32_t>(rows.end - rows.begin);
  const int32_t first = static_cast<int32_t>(rows.begin);
  const float* scores = op.logits + first;
  float* attention = op.attention + first;
  float* weights = held ? shared.weights : attention;
  if (held) for_each(count, [&](int64_t i) { weights[i] = scores[i]; });
  Exchange exchange{shared.exchange};
  const Cut cut = softmax_cut(held ? weights : scores, count, op.p, weights, exchange);
  const KeptCount kept = count_kept(weights, count, cut, exchange);
  if (thread() == 0) op.look_back.post(frame, kept.number);
  if (held) for_each(count, [&](int64_t i) { attention[i] = weights[i]; });
  if (warp() == 0) {
    const uint64_t sum = op.look_back.sum_before(frame, kept.number);
    if (lane() == 0) shared.before = static_cast<int64_t>(sum);
  }
  sync();

  // Offsets that do not ascend may name more rows than there are.
  const int64_t before = shared.before < op.rows ? shared.before : op.rows;
  const int64_t after = before + kept.number < op.rows ? before + kept.number : op.rows;
  const int32_t number = static_cast<int32_t>(after - before);
  if (thread() == 0) op.out_offsets[frame + 1] = static_cast<int32_t>(after);
  int32_t* out_rows = op.out_rows + before;
  emit_kept(weights, count, cut, kept, [&](int32_t i, int32_t place) {
    if (held) shared.kept[place] = static_cast<uint16_t>(i);
    if (place >= number) return;
    out_rows[place] = first + i;
    op.out_sites[before + place] = op.sites[first + i];
  });
  sync();

  const auto candidate = [&](int32_t place) -> int32_t {
    return held ? shared.kept[place] : out_rows[place] - first;
  };
  const auto scale = [&](int32_t place) -> float {
    return static_cast<float>(count) * weights[candidate(place)];
  };
  gather_rows(op.features + rows.begin * op.packs, op.packs, number, candidate, op.weighted, scale,
              op.out + before * op.packs);
  const int64_t end = active - (rows.begin - before);
  const int64_t begin = end - (count - number);
  if (begin >= after && end <= op.rows) pad_rows<neighbours>(op, {begin, end});
  if constexpr (neighbours) {
    const auto site = [&](int32_t place) { return op.sites[first + candidate(place)]; };
    find_neighbours(op.neighbours, frame, before, number, site, shared.neighbours, exchange);
  }
}

// One block's part of the launch: a frame, and a share of what was padding before.
template <bool neighbours, class P, class Shared>
MESM_BLOCK void select_frame(const TopPSelect<P>& op, Shared& shared) {
  if (thread() == 0) shared.frame = op.look_back.take_part();
  sync();
  const int64_t frame = shared.frame;
  const int64_t active = row_at(op.offsets, op.frames, op.rows);
  const RowRange padding = share_of(active, op.rows, frame, op.frames > 0 ? op.frames : 1);
  pad_rows<neighbours>(op, padding);
  fill(op.attention, padding, 0.0f);
  if (frame == 0 && thread() == 0) op.out_offsets[0] = 0;
  if (frame >= op.frames) return;
  const RowRange rows = rows_of_frame(op.offsets, frame, op.rows);
  if (rows.end - rows.begin <= kHeld) {
    select_candidates<true, neighbours>(op, frame, rows, active, shared);
  } else {
    select_candidates<false, neighbours>(op, frame, rows, active, shared);
  }
}

template <class P>
struct TopPSelectBackward {
  const P* grad_out;  // (out_rows, packs)
  const P* features;  // (rows, packs)
  const int32_t* offsets;
  const int32_t* out_offsets;  // (frames + 1,)
  const int32_t* kept_rows;    // (out_rows,)
  const float* attention;      // (rows,)
  bool weighted;
  int64_t frames, rows, out_rows;
  int32_t packs;
  P* grad_features;
  float* grad_logits;
};

struct TopPSelectBackwardShared {
  alignas(16) char exchange[Exchange::kBytes];
  int32_t place[kHeld];  // of a candidate among the output's rows, -1 if it was not kept
};

// The gradient of one candidate's features by a group of lanes; returns this lane's part of
// grad . feature.
template <class P>
MESM_BLOCK float backward_row(const TopPSelectBackward<P>& op, const RowGroups& by, int64_t row,
                              int32_t place, float scale) {
  P* to = op.grad_features + row * op.packs;
  float dot = 0;
  for (int32_t column = by.column; column < op.packs; column += by.width) {
    if (place < 0) {
      to[column] = P{};
      continue;
    }
    const P grad = op.grad_out[static_cast<int64_t>(place) * op.packs + column];
    if (!op.weighted) {
      to[column] = grad;
      continue;
    }
    const P feature = op.features[row * op.packs + column];
    for (int k = 0; k < P::kSize; ++k) {
      dot += static_cast<float>(grad.of[k]) * static_cast<float>(feature.of[k]);
    }
    to[column] = scaled(grad, scale);
  }
  return dot;
}

// One block's part of the launch: a frame, and a share of the padding.
template <class P>
MESM_BLOCK void select_frame_backward(const TopPSelectBackward<P>& op, int64_t frame,
                                      TopPSelectBackwardShared& shared) {
  const int64_t active = row_at(op.offsets, op.frames, op.rows);
  const RowRange padding = share_of(active, op.rows, frame, op.frames > 0 ? op.frames : 1);
  zero_rows(op.grad_features, padding, op.packs);
  fill(op.grad_logits, padding, 0.0f);
  if (frame >= op.frames) return;

  const RowRange rows = rows_of_frame(op.offsets, frame, op.rows);
  const RowRange kept = rows_of_frame(op.out_offsets, frame, op.out_rows);
  const float candidates = static_cast<float>(rows.end - rows.begin);
  const RowGroups by(op.packs);
  double pull = 0;
  for (int64_t first = rows.begin; first < rows.end; first += kHeld) {
    const int64_t number = rows.end - first < kHeld ? rows.end - first : kHeld;
    for_each(number, [&](int64_t i) { shared.place[i] = -1; });
    sync();
    for_each(kept.end - kept.begin, [&](int64_t i) {
      const int64_t row = op.kept_rows[kept.begin + i] - first;
      if (row >= 0 && row < number) shared.place[row] = static_cast<int32_t>(kept.begin + i);
    });
    sync();
    for (int64_t start = 0; start < number; start += by.groups) {  // all lanes alike
      const int64_t i = start + by.group;
      const int64_t row = first + i;
      float dot = 0;
      float weight = 0;
      int32_t place = -1;
      if (i < number) {
        weight = op.weighted ? op.attention[row] : 0;
        place = shared.place[i];
        dot = backward_row(op, by, row, place, candidates * weight);
      }
      if (op.weighted) dot = warp_group_sum(dot, by.width);
      if (i < number && by.column == 0) {
        const float moment = candidates * dot;  // the gradient of the attention
        op.grad_logits[row] = moment;
        pull += static_cast<double>(weight) * moment;
      }
    }
    sync();
  }
  if (!op.weighted) return;
  Exchange exchange{shared.exchange};
  pull = block_sum(pull, exchange);
  for_each(rows.end - rows.begin, [&](int64_t i) {
    const int64_t row = rows.begin + i;
    op.grad_logits[row] = op.attention[row] * static_cast<float>(op.grad_logits[row] - pull);
  });
}

}  // namespace mesm_ops
