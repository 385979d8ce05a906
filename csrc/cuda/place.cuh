// The second and third step of placing rows. A row's position is its place among all kept rows,
// ordered by key (see rank.cuh), rows of one key as they come, inside spans of frames: so the rows
// of tiles that run at the same time stay in the GPU's cache.
//
// The second step sums up over frames what the first counted: where the kept rows of each frame
// begin, and how many rows of each key a span has before each frame. The third knows from that the
// position of every row of a frame, and writes what goes by position.
#pragma once

#include "rank.cuh"

namespace mesm_ops {

constexpr int kTileRows = 128;
constexpr int kSpanSites = 131072;  // of a span: its rows of 128 channels take up to 32 MB

constexpr int32_t span_frames_of(int64_t area) {
  return area > kSpanSites ? 1 : static_cast<int32_t>(kSpanSites / (area > 0 ? area : 1));
}

// What the steps leave for each other, in words of int32 that begin at a multiple of 8 bytes.
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
  Ranked ranked;    // the counts of a frame become those of its span's frames before
  int32_t* totals;  // (spans, kPatterns)
  int64_t frames, spans;
  int32_t span_frames;
  int32_t* masks;  // (tiles,), zero after
  int64_t tiles;
  // Of a selection, else null:
  int32_t* kept_offsets;  // (frames + 1,)
  int32_t* out_offsets;   // (frames + 1,)
  int64_t rows, out_rows;

  // Each block but the last takes as many keys of one span as a warp has lanes.
  static constexpr int kBlocksOfSpan = kPatterns / kLanes;
};

struct SumUpShared {
  alignas(16) char exchange[Exchange::kBytes];
  int32_t sums[kMaxWarps][kLanes];
};

// One lane takes one key, one warp a run of frames at a time.
MESM_BLOCK void sum_up_keys(const SumUp& op, int64_t span, int32_t key, SumUpShared& shared) {
  constexpr int kFrames = 16;  // of a warp at a time
  const int64_t end_of_span = (span + 1) * op.span_frames;
  const int64_t end = end_of_span < op.frames ? end_of_span : op.frames;
  int32_t before = 0;
  MESM_ROLLED
  for (int64_t begin = span * op.span_frames; begin < end; begin += kFrames * warps()) {
    const int64_t first = begin + kFrames * warp();
    int32_t* counts = op.ranked.counts + first * kPatterns + key;
    int32_t held[kFrames];
    int32_t sum = 0;
    MESM_UNROLL
    for (int k = 0; k < kFrames; ++k) held[k] = first + k < end ? counts[k * kPatterns] : 0;
    MESM_UNROLL
    for (int k = 0; k < kFrames; ++k) sum += held[k];
    shared.sums[warp()][lane()] = sum;
    sync();
    int32_t in_warp = before;
    MESM_ROLLED
    for (int i = 0; i < warps(); ++i) {
      const int32_t one = shared.sums[i][lane()];
      in_warp += i < warp() ? one : 0;
      before += one;
    }
    MESM_UNROLL
    for (int k = 0; k < kFrames; ++k) {
      if (first + k < end) counts[k * kPatterns] = in_warp;
      in_warp += held[k];
    }
    sync();
  }
  if (warp() == 0) op.totals[span * kPatterns + key] = before;
}

// One block's part of the launch, of spans * kBlocksOfSpan + 1.
MESM_BLOCK void sum_up_frames(const SumUp& op, int64_t block, SumUpShared& shared) {
  const int64_t blocks = op.spans * SumUp::kBlocksOfSpan + 1;
  fill(op.masks, share_of(0, op.tiles, block, blocks), 0);
  if (block + 1 < blocks) {
    const int32_t key = static_cast<int32_t>(block % SumUp::kBlocksOfSpan) * kLanes + lane();
    sum_up_keys(op, block / SumUp::kBlocksOfSpan, key, shared);
  } else if (op.kept_offsets != nullptr) {
    Exchange exchange{shared.exchange};
    sum_up(op.ranked.kept, op.frames, op.rows, op.kept_offsets, exchange);
    sum_up(op.ranked.windows, op.frames, op.out_rows, op.out_offsets, exchange);
  }
}

struct Place {
  Maps maps;
  Ranked ranked;                // as the steps before left it
  const int32_t* totals;        // (spans, kPatterns): rows of each key
  const int32_t* kept_offsets;  // (frames + 1,)
  int32_t span_frames;
  int64_t tiles;   // of kTileRows, as many as there may be
  int32_t* lists;  // (tiles, kTaps, kTileRows): where the neighbour of the row at a position is
  int32_t* masks;  // (tiles,), zero: becomes the taps at which a row of the tile has a neighbour
  // Either where each row is, and `lists` has positions; or null, and `lists` has rows.
  int32_t* place;  // (rows,): the position of each kept row
  int32_t* order;  // (tiles * kTileRows,): the kept row at each position

  MESM_BLOCK int64_t kept() const { return row_at(kept_offsets, maps.frames, maps.rows); }
};

// With what a selection has beside positions.
template <class P>
struct PlaceSelected {
  Place place;
  const P* features;       // (rows, packs)
  const float* attention;  // (rows,)
  bool weighted;
  int32_t packs;
  P* x;           // (tiles * kTileRows, packs): the features of the row at each position
  int32_t* rows;  // (rows,): the candidate that each kept row is
  const int32_t* out_offsets;  // (frames + 1,)
  int64_t out_rows;
  Pack<int32_t, 4>* windows;  // (out_rows,): the positions of each active window's rows
  int32_t* window_of;  // (tiles * kTileRows,): four times the row of the window, plus where in it
  int32_t* out_sites;  // (out_rows,)
};

// In shared memory.
struct PlaceMemory {
  static constexpr int kFirsts = kPatterns + 4;
  char* exchange;
  uint32_t* first;  // [kPatterns + 1]: where each key's rows begin in the span, and where they end
  uint32_t* base;   // [kPatterns]: where the frame's begin
  int32_t* at;      // [area]: what `lists` has of the row at the site, -1 if there is none

  static constexpr int64_t bytes(int64_t area) {
    return Exchange::kBytes + (kFirsts + kPatterns + area) * 4;
  }
  static MESM_BLOCK PlaceMemory at_begin(void* shared) {
    PlaceMemory memory;
    memory.exchange = static_cast<char*>(shared);
    memory.first = reinterpret_cast<uint32_t*>(memory.exchange + Exchange::kBytes);
    memory.base = memory.first + kFirsts;
    memory.at = reinterpret_cast<int32_t*>(memory.base + kPatterns);
    return memory;
  }

  MESM_BLOCK uint32_t position(const RankedRow& row) const { return base[row.key] + row.rank; }
};

// A frame's kept rows, and where it is in its span.
struct PlacedFrame {
  int32_t first, begin;  // its first candidate and its first kept row
  int32_t number;        // of kept rows
  int32_t span, in_span, frames_in_span;

  MESM_BLOCK PlacedFrame(const Place& op, int64_t frame) {
    first = static_cast<int32_t>(op.maps.candidates(frame).begin);
    const RowRange kept = rows_of_frame(op.kept_offsets, frame, op.maps.rows);
    begin = static_cast<int32_t>(kept.begin);
    number = static_cast<int32_t>(kept.end) - begin;
    if (number > op.ranked.kept[frame]) number = op.ranked.kept[frame];
    span = static_cast<uint32_t>(frame) / static_cast<uint32_t>(op.span_frames);
    const int64_t before = int64_t{span} * op.span_frames;
    in_span = static_cast<int32_t>(frame - before);
    const int64_t after = op.maps.frames - before;
    frames_in_span = after < op.span_frames ? static_cast<int32_t>(after) : op.span_frames;
  }

  // Which of all candidates a kept row is; frames that share rows may have left each other's.
  MESM_BLOCK int32_t candidate(const Place& op, const RankedRow& row) const {
    const int64_t at = int64_t{first} + row.candidate;
    return static_cast<int32_t>(at < op.maps.rows ? at : op.maps.rows - 1);
  }
};

// memory.first and memory.base, and memory.at of nobody: complete for all threads.
MESM_BLOCK void begin_keys(const Place& op, int64_t frame, const PlacedFrame& placed,
                           const PlaceMemory& memory, Exchange& exchange) {
  struct Counts {
    int32_t total, before;
  };
  load_each<4>(
      kPatterns,
      [&](int64_t key) {
        return Counts{op.totals[int64_t{placed.span} * kPatterns + key],
                      op.ranked.counts[frame * kPatterns + key]};
      },
      [&](int64_t key, const Counts& counts) {
        memory.first[key] = static_cast<uint32_t>(counts.total);
        memory.base[key] = static_cast<uint32_t>(counts.before);
      });
  for_each(op.maps.area(), [&](int64_t site) { memory.at[site] = -1; });
  const int64_t first_of_span = int64_t{placed.span} * op.span_frames;
  const uint32_t begin =
      static_cast<uint32_t>(row_at(op.kept_offsets, first_of_span, op.maps.rows));
  sync();
  const int own = (kPatterns + threads() - 1) / threads();
  const int from = own * thread() < kPatterns ? own * thread() : kPatterns;
  const int to = from + own < kPatterns ? from + own : kPatterns;
  uint32_t mine = 0;
  for (int key = from; key < to; ++key) mine += memory.first[key];
  uint32_t before = begin + block_sums(mine, exchange).before;
  for (int key = from; key < to; ++key) {
    const uint32_t total = memory.first[key];
    memory.first[key] = before;
    memory.base[key] += before;
    before += total;
  }
  if (from < to && to == kPatterns) memory.first[kPatterns] = before;
  sync();
}

// memory.at: complete after the next `sync`. then(i, row) for each of the frame's kept rows.
template <class Then>
MESM_BLOCK void place_rows(const Place& op, const PlacedFrame& placed, const PlaceMemory& memory,
                           const Then& then) {
  load_each<2>(
      placed.number, [&](int64_t i) { return op.ranked.rows[placed.first + i]; },
      [&](int64_t i, const RankedRow& row) {
        const uint32_t position = memory.position(row);
        if (position >= static_cast<uint64_t>(op.maps.rows)) return;  // of senseless offsets
        int32_t here = static_cast<int32_t>(position);
        if (op.place != nullptr) {
          op.place[placed.begin + i] = here;
        } else {
          op.order[position] = here = static_cast<int32_t>(placed.begin + i);
        }
        if (row.site != kNowhere) memory.at[row.site] = here;
        then(i, row);
      });
}

// memory.at: complete.
MESM_BLOCK void list_neighbours(const Place& op, const PlacedFrame& placed,
                                const PlaceMemory& memory) {
  load_each<2>(
      placed.number, [&](int64_t i) { return op.ranked.rows[placed.first + i]; },
      [&](int64_t, const RankedRow& row) {
        const uint32_t position = memory.position(row);
        if (position >= static_cast<uint64_t>(op.maps.rows)) return;
        int32_t* list =
            op.lists + int64_t{position / kTileRows} * kTaps * kTileRows + position % kTileRows;
        const uint32_t pattern = pattern_of_key(row.key);
        MESM_UNROLL
        for (int tap = 0; tap < kTaps; ++tap) {
          const int32_t site = row.site + (tap / 3 - 1) * op.maps.width + tap % 3 - 1;
          list[tap * kTileRows] = pattern >> tap & 1 ? memory.at[site] : -1;
        }
      });
}

// The frame's share of its span's tiles, a warp a tile: the taps of all keys that it has rows of. A
// tile may have rows of two spans.
MESM_BLOCK void mask_tiles(const Place& op, const PlacedFrame& placed, const PlaceMemory& memory) {
  const int64_t begin = memory.first[0] / kTileRows;
  const int64_t end = (int64_t{memory.first[kPatterns]} + kTileRows - 1) / kTileRows;
  MESM_ROLLED
  for (int64_t tile = begin + int64_t{placed.in_span} * warps() + warp();
       tile < end && tile < op.tiles; tile += int64_t{placed.frames_in_span} * warps()) {
    const uint32_t from = static_cast<uint32_t>(tile) * kTileRows;
    uint32_t taps = 0;
    MESM_ROLLED
    for (int key = lane(); key < kPatterns; key += kLanes) {
      const uint32_t first = memory.first[key], last = memory.first[key + 1];
      if (first < last && first < from + kTileRows && last > from) taps |= pattern_of_key(key);
    }
    taps = warp_or(taps);
    if (lane() == 0 && taps != 0) or_into(op.masks[tile], taps);
  }
}

// One block's share of what is padding whatever comes out.
MESM_BLOCK void pad_tiles(const Place& op, int64_t block, int64_t blocks) {
  const int64_t kept = op.kept();
  if (op.order != nullptr) {
    const RowRange share = share_of(kept, op.tiles * kTileRows, block, blocks);
    for_each(share.end - share.begin, [&](int64_t i) {
      const int64_t position = share.begin + i;
      op.order[position] = static_cast<int32_t>(position < op.maps.rows ? position : -1);
    });
  }
  if (block + 1 < blocks) return;
  const int32_t lanes = static_cast<int32_t>(kept % kTileRows);  // of the last tile
  if (lanes == 0) return;
  int32_t* lists = op.lists + kept / kTileRows * kTaps * kTileRows;
  for_each(kTaps * kTileRows, [&](int64_t i) {
    if (i % kTileRows >= lanes) lists[i] = -1;
  });
}

// One block's part of the launch: a frame, and a share of the padding.
MESM_BLOCK void place_frame(const Place& op, int64_t frame, void* shared) {
  pad_tiles(op, frame, op.maps.frames > 0 ? op.maps.frames : 1);
  if (frame >= op.maps.frames) return;
  const PlaceMemory memory = PlaceMemory::at_begin(shared);
  Exchange exchange{memory.exchange};
  const PlacedFrame placed(op, frame);
  begin_keys(op, frame, placed, memory, exchange);
  place_rows(op, placed, memory, [](int64_t, const RankedRow&) {});
  mask_tiles(op, placed, memory);
  sync();
  list_neighbours(op, placed, memory);
}

// The positions of the rows of each active window of the frame; memory.at: complete.
template <class P>
MESM_BLOCK void list_windows(const PlaceSelected<P>& op, int64_t frame, const PlaceMemory& memory,
                             Exchange& exchange) {
  const Maps& maps = op.place.maps;
  const int32_t width = maps.width, across = width / 2;
  const auto rows_of = [&](int32_t window) {
    const int32_t y = window / across;
    const int32_t* at = memory.at + 2 * y * width + 2 * (window - y * across);
    return Pack<int32_t, 4>{{at[0], at[1], at[width], at[width + 1]}};
  };
  const auto is_active = [&](int32_t window) {
    const Pack<int32_t, 4> rows = rows_of(window);
    return (rows.of[0] & rows.of[1] & rows.of[2] & rows.of[3]) >= 0;  // -1: nobody
  };
  const RowRange out = rows_of_frame(op.out_offsets, frame, op.out_rows);
  const Count active = count_where(maps.pooled(), is_active, exchange);
  emit_where(maps.pooled(), is_active, active, [&](int32_t window, int32_t number) {
    const int64_t row = out.begin + number;
    if (row >= out.end) return;
    const Pack<int32_t, 4> rows = rows_of(window);
    op.windows[row] = rows;
    op.out_sites[row] = window;
    MESM_UNROLL
    for (int k = 0; k < 4; ++k) {
      if (rows.of[k] >= 0) op.window_of[rows.of[k]] = static_cast<int32_t>(4 * row + k);
    }
  });
  // An odd last row and column are in no window.
  const auto outside = [&](int32_t site) {
    if (memory.at[site] >= 0) op.window_of[memory.at[site]] = -1;
  };
  const int32_t even = maps.height / 2 * 2;
  if (even < maps.height) for_each(width, [&](int64_t x) { outside(even * width + x); });
  if (width % 2 != 0) for_each(even, [&](int64_t y) { outside(y * width + width - 1); });
}

// One block's part of the launch: a frame, and a share of the padding.
template <class P>
MESM_BLOCK void place_selected_frame(const PlaceSelected<P>& op, int64_t frame, void* shared) {
  const Place& place = op.place;
  const Maps& maps = place.maps;
  const int64_t blocks = maps.frames > 0 ? maps.frames : 1;
  pad_tiles(place, frame, blocks);
  fill(op.rows, share_of(place.kept(), maps.rows, frame, blocks), -1);
  const int64_t active = row_at(op.out_offsets, maps.frames, op.out_rows);
  fill(op.out_sites, share_of(active, op.out_rows, frame, blocks), 0);
  if (frame >= maps.frames) return;

  const PlaceMemory memory = PlaceMemory::at_begin(shared);
  Exchange exchange{memory.exchange};
  const PlacedFrame placed(place, frame);
  begin_keys(place, frame, placed, memory, exchange);
  place_rows(place, placed, memory, [&](int64_t i, const RankedRow& row) {
    op.rows[placed.begin + i] = placed.candidate(place, row);
  });
  mask_tiles(place, placed, memory);
  sync();
  list_neighbours(place, placed, memory);
  list_windows(op, frame, memory, exchange);
  const RowRange candidates = maps.candidates(frame);
  const float number = static_cast<float>(candidates.end - candidates.begin);
  gather_rows(
      op.features, op.packs, placed.number, op.x,
      [&](int32_t i) {
        const RankedRow row = place.ranked.rows[placed.first + i];
        const int32_t to = row.site == kNowhere ? -1 : memory.at[row.site];
        return Moved{to < 0 ? -1 : placed.candidate(place, row), to};
      },
      op.weighted, [&](int32_t from) { return number * op.attention[from]; });
}

}  // namespace mesm_ops
