// top_p_select, one block a frame: first which candidates the frame keeps; then, with offsets from
// the sums over frames, the output.
#pragma once

#include "nucleus.cuh"
#include "rows.cuh"

namespace mesm_ops {

// The most candidates whose weights shared memory has room for; else `attention` has the weights.
constexpr int kSharedCandidates = 4096;

struct TopPSelect {
  const int32_t* offsets;  // (frames + 1,)
  const float* logits;
  double p;
  int64_t frames, rows;
  float* attention;
  int32_t* kept;     // (rows,): the rows that a frame keeps, stored where the frame's rows begin
  int32_t* numbers;  // (frames,): how many rows a frame keeps
};

struct TopPSelectShared {
  alignas(16) char exchange[Exchange::kBytes];
  CutShared cut;
  float weights[kSharedCandidates];
};

template <bool in_shared>
MESM_BLOCK void select_candidates(const TopPSelect& op, int64_t frame, RowRange rows,
                                  TopPSelectShared& shared) {
  const int32_t count = static_cast<int32_t>(rows.end - rows.begin);
  const int32_t first = static_cast<int32_t>(rows.begin);
  const float* scores = op.logits + first;
  float* attention = op.attention + first;
  float* weights = in_shared ? shared.weights : attention;
  if constexpr (in_shared) {
    load_each<4>(
        count, [&](int64_t i) { return scores[i]; },
        [&](int64_t i, float score) { weights[i] = score; });
  }
  Exchange exchange{shared.exchange};
  int32_t* kept = op.kept + first;
  const int32_t number =
      nucleus(in_shared ? weights : scores, count, op.p, weights, exchange, shared.cut,
              [&](int32_t i, int32_t place) { kept[place] = first + i; });
  if constexpr (in_shared) for_each(count, [&](int64_t i) { attention[i] = weights[i]; });
  if (thread() == 0) op.numbers[frame] = number;
}

// One block's part of the launch: a frame, and a share of the padding. The padding comes last, as
// its extent has to be loaded first.
MESM_BLOCK void select_frame(const TopPSelect& op, int64_t frame, TopPSelectShared& shared) {
  if (frame < op.frames) {
    const RowRange rows = rows_of_frame(op.offsets, frame, op.rows);
    if (rows.end - rows.begin <= kSharedCandidates) {
      select_candidates<true>(op, frame, rows, shared);
    } else {
      select_candidates<false>(op, frame, rows, shared);
    }
  }
  const int64_t active = row_at(op.offsets, op.frames, op.rows);
  fill(op.attention, share_of(active, op.rows, frame, op.frames > 0 ? op.frames : 1), 0.0f);
}

template <class P>
struct TopPGather {
  const P* features;  // (rows, packs)
  const int32_t* sites;
  const int32_t* offsets;  // (frames + 1,)
  const float* attention;
  const int32_t* kept;
  bool scales;
  int64_t frames, rows;
  int32_t packs;
  P* out;
  int32_t* out_sites;
  const int32_t* out_offsets;
  int32_t* out_rows;
};

template <class P>
MESM_BLOCK void gather_kept(const TopPGather<P>& op, int64_t frame) {
  const RowRange rows = rows_of_frame(op.offsets, frame, op.rows);
  const RowRange out = rows_of_frame(op.out_offsets, frame, op.rows);
  const int32_t* kept = op.kept + rows.begin;
  const int32_t number = static_cast<int32_t>(out.end - out.begin);
  const float candidates = static_cast<float>(rows.end - rows.begin);
  struct Kept {
    int32_t row, site;
  };
  load_each<2>(
      number, [&](int64_t i) { return Kept{kept[i], op.sites[kept[i]]}; },
      [&](int64_t i, const Kept& one) {
        op.out_rows[out.begin + i] = one.row;
        op.out_sites[out.begin + i] = one.site;
      });
  gather_rows(
      op.features, op.packs, number, op.out,
      [&](int32_t i) { return Moved{kept[i], static_cast<int32_t>(out.begin + i)}; }, op.scales,
      [&](int32_t row) { return candidates * op.attention[row]; });
}

// One block's part of the launch: a frame, and a share of the padding.
template <class P>
MESM_BLOCK void gather_frame(const TopPGather<P>& op, int64_t frame) {
  if (frame < op.frames) gather_kept(op, frame);
  const int64_t number = row_at(op.out_offsets, op.frames, op.rows);
  const RowRange padding = share_of(number, op.rows, frame, op.frames > 0 ? op.frames : 1);
  zero_rows(op.out, padding, op.packs);
  fill(op.out_sites, padding, 0);
  fill(op.out_rows, padding, -1);
}

template <class P>
struct TopPSelectBackward {
  const P* grad_out;  // (out_rows, packs)
  const P* features;  // (rows, packs)
  const int32_t* offsets;
  const int32_t* out_offsets;  // (frames + 1,)
  const int32_t* kept_rows;    // (out_rows,)
  const float* attention;      // (rows,)
  bool scales, learns;
  int64_t frames, rows, out_rows;
  int32_t packs;
  P* grad_features;
  float* grad_logits;
};

struct TopPSelectBackwardShared {
  alignas(16) char exchange[Exchange::kBytes];
  int32_t place[kSharedCandidates];  // a candidate's row in the output, -1 if the candidate was not
                                     // kept
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
    if (!op.learns) {
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
  const float factor = op.scales ? static_cast<float>(rows.end - rows.begin) : 1;
  const RowGroups by(op.packs);
  double pull = 0;
  for (int64_t first = rows.begin; first < rows.end; first += kSharedCandidates) {
    const int64_t number =
        rows.end - first < kSharedCandidates ? rows.end - first : kSharedCandidates;
    for_each(number, [&](int64_t i) { shared.place[i] = -1; });
    sync();
    for_each(kept.end - kept.begin, [&](int64_t i) {
      const int64_t row = op.kept_rows[kept.begin + i] - first;
      if (row >= 0 && row < number) shared.place[row] = static_cast<int32_t>(kept.begin + i);
    });
    sync();
    for (int64_t start = 0; start < number; start += by.groups) {  // the same count in all lanes
      const int64_t i = start + by.group;
      const int64_t row = first + i;
      float dot = 0;
      float weight = 0;
      int32_t place = -1;
      if (i < number) {
        weight = op.scales ? op.attention[row] : 1;
        place = shared.place[i];
        dot = backward_row(op, by, row, place, factor * weight);
      }
      if (op.learns) dot = warp_group_sum(dot, by.width);
      if (i < number && by.column == 0) {
        const float moment = factor * dot;  // the gradient of the attention, or of its logarithm
        op.grad_logits[row] = moment;
        pull += static_cast<double>(weight) * moment;
      }
    }
    sync();
  }
  if (!op.learns) return;
  Exchange exchange{shared.exchange};
  pull = block_sum(pull, exchange);
  for_each(rows.end - rows.begin, [&](int64_t i) {
    const int64_t row = rows.begin + i;
    const double moment = op.grad_logits[row];
    op.grad_logits[row] = op.scales ? op.attention[row] * static_cast<float>(moment - pull)
                                    : static_cast<float>(moment - op.attention[row] * pull);
  });
}

}  // namespace mesm_ops
