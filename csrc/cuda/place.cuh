// The third step of placing rows. A row's position is its place among all kept rows when the rows
// of each span of frames are sorted by key (see rank.cuh), stably. From the sums of the second step
// (sum_up.cuh) a block knows the position of every row of its frame, and writes all arrays that are
// sorted by position.
#pragma once

#include "sum_up.cuh"

namespace mesm_ops {

constexpr int kTileRows = 128;

struct Place {
  Maps maps;
  Ranked ranked;                // after the second step
  const int32_t* totals;        // (spans, kPatterns): rows of each key
  const int32_t* kept_offsets;  // (frames + 1,)
  int32_t span_frames;
  int64_t tiles;   // of kTileRows, if all candidates were kept
  int32_t* lists;  // (tiles, kTaps, kTileRows): the neighbours of the row at each position, or -1
  int32_t* masks;  // (tiles,), zero: gets the taps at which a row of the tile has a neighbour
  // Either `place` or `order` is null. With `place`, `lists` has positions; with `order`, row
  // numbers.
  int32_t* place;  // (rows,): the position of each kept row
  int32_t* order;  // (tiles * kTileRows,): the kept row at each position

  MESM_BLOCK int64_t kept() const { return row_at(kept_offsets, maps.frames, maps.rows); }
};

// Place for the rows that a selection keeps, with all arrays sorted by the rows' positions.
template <class P>
struct PlaceSelected {
  Place place;
  const P* features;       // (rows, packs)
  const float* attention;  // (rows,)
  bool scales;
  int32_t packs;
  P* x;           // (tiles * kTileRows, packs): the features of the row at each position
  int32_t* rows;  // (rows,): the candidate that each kept row is
  const int32_t* out_offsets;  // (frames + 1,)
  int64_t out_rows;
  Pack<int32_t, 4>* windows;  // (out_rows,): the positions of each active window's rows
  int32_t* window_of;         // (tiles * kTileRows,): 4 * the row's window + the row's slot, or -1
  int32_t* out_sites;         // (out_rows,)
};

// Shared memory of the third step; `sorted` only for maps of at most kSharedSites.
struct PlaceMemory {
  static constexpr int kFirsts = kPatterns + 4;
  char* exchange;
  uint32_t* first;   // [kPatterns + 1]: the first position of each key in the span, then the end
  uint32_t* base;    // [kPatterns]: the first position of each key in the frame
  uint32_t* local;   // [kPatterns]: the frame's rows of lower keys
  int32_t* at;       // [area]: the entry in `lists` for the row at each site, -1 if there is none
  uint32_t* sorted;  // [area]: site (low 16 bits) and key of the frame's rows, by position
  uint16_t* window_at;  // [pooled]: the number of each active window among the frame's

  static constexpr int64_t bytes(int64_t area, int64_t pooled) {
    const int64_t sorted = area <= kSharedSites ? area : 0;
    return Exchange::kBytes + (kFirsts + 2 * kPatterns + area + sorted) * 4 + pooled * 2;
  }
  static MESM_BLOCK PlaceMemory of(void* shared, int32_t area) {
    PlaceMemory memory;
    memory.exchange = static_cast<char*>(shared);
    memory.first = reinterpret_cast<uint32_t*>(memory.exchange + Exchange::kBytes);
    memory.base = memory.first + kFirsts;
    memory.local = memory.base + kPatterns;
    memory.at = reinterpret_cast<int32_t*>(memory.local + kPatterns);
    memory.sorted = reinterpret_cast<uint32_t*>(memory.at + area);
    memory.window_at =
        reinterpret_cast<uint16_t*>(memory.sorted + (area <= kSharedSites ? area : 0));
    return memory;
  }

  MESM_BLOCK uint32_t position(const RankedRow& row) const { return base[row.key] + row.rank; }
};

// A frame's place in its span, and its rows. Offsets are loaded first and clipped later, by
// `settle`: other loads begin in between.
struct PlacedFrame {
  int32_t first, last;  // its candidates
  int32_t begin, end;   // its kept rows
  int32_t number;       // how many kept rows
  int32_t span, in_span, frames_in_span;

  MESM_BLOCK PlacedFrame(const Place& op, int64_t frame)
      : first(op.maps.offsets[frame]),
        last(op.maps.offsets[frame + 1]),
        begin(op.kept_offsets[frame]),
        end(op.kept_offsets[frame + 1]),
        number(op.ranked.kept[frame]) {
    span = static_cast<uint32_t>(frame) / static_cast<uint32_t>(op.span_frames);
    const int64_t before = int64_t{span} * op.span_frames;
    in_span = static_cast<int32_t>(frame - before);
    const int64_t after = op.maps.frames - before;
    frames_in_span = after < op.span_frames ? static_cast<int32_t>(after) : op.span_frames;
  }

  MESM_BLOCK void settle(const Place& op) {
    const RowRange candidates = op.maps.candidates(first, last);
    const RowRange kept = rows_between(begin, end, op.maps.rows);
    first = static_cast<int32_t>(candidates.begin);
    last = static_cast<int32_t>(candidates.end);
    begin = static_cast<int32_t>(kept.begin);
    end = static_cast<int32_t>(kept.end);
    if (number > end - begin) number = end - begin;
  }

  // The candidate that a kept row is, clipped: frames with overlapping offsets overwrite each
  // other.
  MESM_BLOCK int32_t candidate(const Place& op, const RankedRow& row) const {
    const int64_t at = int64_t{first} + row.candidate;
    return static_cast<int32_t>(at < op.maps.rows ? at : op.maps.rows - 1);
  }
};

// Fills the arrays of `memory` by key and clears the other arrays; all complete for all threads.
MESM_BLOCK void begin_keys(const Place& op, int64_t frame, const PlacedFrame& placed,
                           const PlaceMemory& memory, Exchange& exchange) {
  const int32_t* totals = op.totals + int64_t{placed.span} * kPatterns;
  const int32_t* before_frame = op.ranked.counts + frame * kPatterns;
  const bool last = placed.in_span + 1 == placed.frames_in_span;
  const int32_t* before_next = last ? totals : before_frame + kPatterns;
  struct Counts {
    uint32_t total, before, own;
  };
  load_each<4>(
      kPatterns,
      [&](int64_t key) {
        const uint32_t before = static_cast<uint32_t>(before_frame[key]);
        return Counts{static_cast<uint32_t>(totals[key]), before,
                      static_cast<uint32_t>(before_next[key]) - before};
      },
      [&](int64_t key, const Counts& counts) {
        memory.first[key] = counts.total;
        memory.base[key] = counts.before;
        memory.local[key] = counts.own;
      });
  const int32_t area = op.maps.area();
  for_each(area, [&](int64_t site) { memory.at[site] = -1; });
  if (area <= kSharedSites) for_each(area, [&](int64_t i) { memory.sorted[i] = kNowhere; });
  const int64_t first_of_span = int64_t{placed.span} * op.span_frames;
  const uint64_t begin = row_at(op.kept_offsets, first_of_span, op.maps.rows);
  sync();
  // Two sums in one word: rows of the span in the upper half, of the frame in the lower.
  const int own = (kPatterns + threads() - 1) / threads();
  const int from = own * thread() < kPatterns ? own * thread() : kPatterns;
  const int to = from + own < kPatterns ? from + own : kPatterns;
  const auto counts = [&](int key) {
    return uint64_t{memory.first[key]} << 32 | memory.local[key];
  };
  uint64_t mine = 0;
  MESM_ROLLED
  for (int key = from; key < to; ++key) mine += counts(key);
  uint64_t before = (begin << 32) + block_sums(mine, exchange).before;
  MESM_ROLLED
  for (int key = from; key < to; ++key) {
    const uint64_t both = counts(key);
    memory.first[key] = static_cast<uint32_t>(before >> 32);
    memory.base[key] += static_cast<uint32_t>(before >> 32);
    memory.local[key] = static_cast<uint32_t>(before);
    before += both;
  }
  if (from < to && to == kPatterns) memory.first[kPatterns] = static_cast<uint32_t>(before >> 32);
  sync();
}

// Writes the frame's positions; memory.at and memory.sorted are complete after the next `sync`.
// Calls then(i, row) for each kept row.
template <class Then>
MESM_BLOCK void place_rows(const Place& op, const PlacedFrame& placed, const PlaceMemory& memory,
                           const Then& then) {
  const bool sorts = op.maps.area() <= kSharedSites;
  load_each<2>(
      placed.number, [&](int64_t i) { return op.ranked.rows[placed.first + i]; },
      [&](int64_t i, const RankedRow& row) {
        const uint32_t position = memory.position(row);
        if (position >= static_cast<uint64_t>(op.maps.rows)) return;  // offsets are invalid
        int32_t here = static_cast<int32_t>(position);
        if (op.place != nullptr) {
          op.place[placed.begin + i] = here;
        } else {
          op.order[position] = here = static_cast<int32_t>(placed.begin + i);
        }
        if (row.site != kNowhere) memory.at[row.site] = here;
        const uint32_t place = memory.local[row.key] + row.rank;
        if (sorts && place < static_cast<uint32_t>(placed.number)) {
          memory.sorted[place] = row.site | uint32_t{row.key} << 16;
        }
        then(i, row);
      });
}

// Writes the frame's rows of `lists`; memory.at must be complete. Rows come in the order of their
// positions if `memory.sorted` has this order: then neighbouring lanes often write to neighbouring
// words. Calls then(position, y, x) for each row, and outside(position) for a row that is not in
// the map.
template <class Then, class Outside>
MESM_BLOCK void list_neighbours(const Place& op, const PlacedFrame& placed,
                                const PlaceMemory& memory, const Then& then,
                                const Outside& outside) {
  const int32_t height = op.maps.height, width = op.maps.width;
  const bool sorts = op.maps.area() <= kSharedSites;
  for_each(placed.number, [&](int64_t i) {
    uint32_t site, position;
    if (sorts) {
      const uint32_t key = memory.sorted[i] >> 16;
      site = memory.sorted[i] & 0xffff;
      position = memory.base[key] + static_cast<uint32_t>(i) - memory.local[key];
    } else {
      const RankedRow row = op.ranked.rows[placed.first + i];
      site = row.site;
      position = memory.position(row);
    }
    if (position >= static_cast<uint64_t>(op.maps.rows)) return;
    const bool somewhere = site != kNowhere;
    const int32_t y = somewhere ? static_cast<int32_t>(site) / width : 0;
    const int32_t x = static_cast<int32_t>(site) - y * width;
    int32_t* list =
        op.lists + int64_t{position / kTileRows} * kTaps * kTileRows + position % kTileRows;
    MESM_UNROLL
    for (int tap = 0; tap < kTaps; ++tap) {
      const int dy = tap / 3 - 1, dx = tap % 3 - 1;
      const bool inside = somewhere && (dy >= 0 || y > 0) && (dy <= 0 || y + 1 < height) &&
                          (dx >= 0 || x > 0) && (dx <= 0 || x + 1 < width);
      const int32_t there = static_cast<int32_t>(site) + dy * width + dx;
      list[tap * kTileRows] = inside ? memory.at[there] : -1;
    }
    if (somewhere) {
      then(position, y, x);
    } else {
      outside(position);
    }
  });
}

// Writes the masks of the frame's share of its span's tiles, a warp a tile: the taps of all keys of
// the tile's rows. The first and the last tile may have rows of other spans too.
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

// One block's share of the padding in `order` and of the last tile.
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
  const int32_t lanes = static_cast<int32_t>(kept % kTileRows);  // rows of the last tile
  if (lanes == 0) return;
  int32_t* lists = op.lists + kept / kTileRows * kTaps * kTileRows;
  for_each(kTaps * kTileRows, [&](int64_t i) {
    if (i % kTileRows >= lanes) lists[i] = -1;
  });
}

// One block's part of the launch: a frame, and a share of the padding.
MESM_BLOCK void place_frame(const Place& op, int64_t frame, void* shared) {
  if (frame < op.maps.frames) {
    const PlaceMemory memory = PlaceMemory::of(shared, op.maps.area());
    Exchange exchange{memory.exchange};
    PlacedFrame placed(op, frame);
    begin_keys(op, frame, placed, memory, exchange);
    placed.settle(op);
    place_rows(op, placed, memory, [](int64_t, const RankedRow&) {});
    mask_tiles(op, placed, memory);
    sync();
    list_neighbours(op, placed, memory, [](uint32_t, int32_t, int32_t) {}, [](uint32_t) {});
  }
  pad_tiles(op, frame, op.maps.frames > 0 ? op.maps.frames : 1);
}

// Writes the frame's active windows to the rows `out`. memory.at must be complete; memory.window_at
// is complete after the next `sync`.
template <class P>
MESM_BLOCK void list_windows(const PlaceSelected<P>& op, RowRange out, const PlaceMemory& memory,
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
    return (rows.of[0] & rows.of[1] & rows.of[2] & rows.of[3]) >=
           0;  // all four are -1 in an inactive window
  };
  const Count active = count_where(maps.pooled(), is_active, exchange);
  emit_where(maps.pooled(), is_active, active, [&](int32_t window, int32_t number) {
    memory.window_at[window] = static_cast<uint16_t>(number);
    const int64_t row = out.begin + number;
    if (row >= out.end) return;
    op.windows[row] = rows_of(window);
    op.out_sites[row] = window;
  });
}

template <class P>
MESM_BLOCK void place_selected_rows(const PlaceSelected<P>& op, int64_t frame, void* shared) {
  const Place& place = op.place;
  const Maps& maps = place.maps;
  const PlaceMemory memory = PlaceMemory::of(shared, maps.area());
  Exchange exchange{memory.exchange};
  PlacedFrame placed(place, frame);
  begin_keys(place, frame, placed, memory, exchange);
  placed.settle(place);
  place_rows(place, placed, memory, [&](int64_t i, const RankedRow& row) {
    op.rows[placed.begin + i] = placed.candidate(place, row);
  });
  mask_tiles(place, placed, memory);
  sync();
  const RowRange out = rows_of_frame(op.out_offsets, frame, op.out_rows);
  list_windows(op, out, memory, exchange);
  sync();
  const int32_t high = maps.height / 2, across = maps.width / 2;
  list_neighbours(
      place, placed, memory,
      [&](uint32_t position, int32_t y, int32_t x) {
        int64_t row = out.end;  // an odd last row or column is in no window
        if (y < 2 * high && x < 2 * across) {
          row = out.begin + memory.window_at[y / 2 * across + x / 2];
        }
        op.window_of[position] =
            row < out.end ? static_cast<int32_t>(4 * row) + y % 2 * 2 + x % 2 : -1;
      },
      [&](uint32_t position) { op.window_of[position] = -1; });
  const float candidates = static_cast<float>(placed.last - placed.first);
  gather_rows(
      op.features, op.packs, placed.number, op.x,
      [&](int32_t i) {
        const RankedRow row = place.ranked.rows[placed.first + i];
        const uint32_t to = memory.position(row);
        const bool there = to < static_cast<uint64_t>(maps.rows);
        return Moved{there ? placed.candidate(place, row) : -1, static_cast<int32_t>(to)};
      },
      op.scales, [&](int32_t from) { return candidates * op.attention[from]; });
}

// One block's part of the launch: a frame, and a share of the padding.
template <class P>
MESM_BLOCK void place_selected_frame(const PlaceSelected<P>& op, int64_t frame, void* shared) {
  const Maps& maps = op.place.maps;
  if (frame < maps.frames) place_selected_rows(op, frame, shared);
  const int64_t blocks = maps.frames > 0 ? maps.frames : 1;
  pad_tiles(op.place, frame, blocks);
  fill(op.rows, share_of(op.place.kept(), maps.rows, frame, blocks), -1);
  const int64_t active = row_at(op.out_offsets, maps.frames, op.out_rows);
  fill(op.out_sites, share_of(active, op.out_rows, frame, blocks), 0);
}

}  // namespace mesm_ops
