// The second step of placing rows sums up the counts of the first (rank.cuh) over frames: where the
// kept rows of each frame begin, and how many rows of each key a span has before each frame.
//
// Positions are sorted inside spans of frames, not over all rows, so that the rows of neighbouring
// tiles stay in the GPU's cache.
#pragma once

#include "rank.cuh"

namespace mesm_ops {

constexpr int kSpanSites = 131072;  // at half density, rows of 128 two-byte channels take 16 MB

constexpr int32_t span_frames_of(int64_t area) {
  return area > kSpanSites ? 1 : static_cast<int32_t>(kSpanSites / (area > 0 ? area : 1));
}

// The steps' scratch memory: words of int32 that begin at a multiple of 8 bytes.
struct Scratch {
  Ranked ranked;
  int32_t* totals;  // (spans, kPatterns)

  static constexpr int64_t words(int64_t rows, int64_t frames, int64_t spans) {
    return 2 * rows + (frames + spans) * kPatterns + 2 * frames;
  }
  Scratch(int32_t* words, int64_t rows, int64_t frames, int64_t spans)
      : ranked{reinterpret_cast<RankedRow*>(words), words + 2 * rows, nullptr, nullptr},
        totals(ranked.counts + frames * kPatterns) {
    ranked.kept = totals + spans * kPatterns;
    ranked.windows = ranked.kept + frames;
  }
};

struct SumUp {
  Ranked ranked;    // the counts of a frame become the sums over the span's frames before
  int32_t* totals;  // (spans, kPatterns)
  int64_t frames, spans;
  int32_t span_frames;
  int32_t* masks;  // (tiles,): set to zero
  int64_t tiles;
  // Null if all rows are kept:
  int32_t* kept_offsets;  // (frames + 1,)
  int32_t* out_offsets;   // (frames + 1,)
  int64_t rows, out_rows;

  // A block takes as many keys of one span as a warp has lanes; two more blocks take the offsets.
  static constexpr int kBlocksOfSpan = kPatterns / kLanes;
  static constexpr int kBlocksBeside = 2;
};

struct SumUpShared {
  alignas(16) char exchange[Exchange::kBytes];
  int32_t sums[kMaxWarps][kLanes];
};

// A lane takes one key, a warp a run of frames at a time.
MESM_BLOCK void sum_up_keys(const SumUp& op, int64_t span, int32_t key, SumUpShared& shared) {
  constexpr int kFrames = 16;  // frames of a run
  const int64_t end_of_span = (span + 1) * op.span_frames;
  const int64_t end = end_of_span < op.frames ? end_of_span : op.frames;
  int32_t before = 0;
  MESM_ROLLED
  for (int64_t begin = span * op.span_frames; begin < end; begin += kFrames * warps()) {
    const int64_t first = begin + kFrames * warp();
    int32_t* counts = op.ranked.counts + first * kPatterns + key;
    int32_t loaded[kFrames];
    int32_t sum = 0;
    MESM_UNROLL
    for (int k = 0; k < kFrames; ++k) loaded[k] = first + k < end ? counts[k * kPatterns] : 0;
    MESM_UNROLL
    for (int k = 0; k < kFrames; ++k) sum += loaded[k];
    shared.sums[warp()][lane()] = sum;
    sync();
    int32_t in_warp = before;
    for (int i = 0; i < warps(); ++i) {
      const int32_t one = shared.sums[i][lane()];
      in_warp += i < warp() ? one : 0;
      before += one;
    }
    MESM_UNROLL
    for (int k = 0; k < kFrames; ++k) {
      if (first + k < end) counts[k * kPatterns] = in_warp;
      in_warp += loaded[k];
    }
    sync();
  }
  if (warp() == 0) op.totals[span * kPatterns + key] = before;
}

// One block's part of the launch.
MESM_BLOCK void sum_up_frames(const SumUp& op, int64_t block, SumUpShared& shared) {
  const int64_t for_keys = op.spans * SumUp::kBlocksOfSpan;
  if (block < for_keys) {
    const int32_t key = static_cast<int32_t>(block % SumUp::kBlocksOfSpan) * kLanes + lane();
    sum_up_keys(op, block / SumUp::kBlocksOfSpan, key, shared);
  } else if (op.kept_offsets != nullptr) {
    Exchange exchange{shared.exchange};
    if (block == for_keys) {
      write_offsets(op.ranked.kept, op.frames, op.rows, op.kept_offsets, exchange);
    } else {
      write_offsets(op.ranked.windows, op.frames, op.out_rows, op.out_offsets, exchange);
    }
  }
  fill(op.masks, share_of(0, op.tiles, block, for_keys + SumUp::kBlocksBeside), 0);
}

}  // namespace mesm_ops
