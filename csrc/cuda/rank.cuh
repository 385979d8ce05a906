// The first step of placing a frame's rows: which candidates are kept, at which taps of the 3x3
// kernel each kept row has a neighbour, and its rank among the frame's rows with the same taps.
//
// Rows are to be ordered by the set of these taps, their pattern: then a tile of rows can leave out
// the taps at which none of its rows has a neighbour. sum_up.cuh and place.cuh have the next steps.
#pragma once

#include "nucleus.cuh"
#include "rows.cuh"

namespace mesm_ops {

constexpr int kTaps = 9;
constexpr int kPatterns = 1 << kTaps;
constexpr int kMostSites = 16384;      // the largest map: sites, candidates and ranks have 16 bits
constexpr int kSharedSites = 4096;     // the largest map whose candidates fit into shared memory
constexpr uint32_t kNowhere = 0xffff;  // the site of a candidate that is outside the map

// The bit of a pattern's code that stands for a tap: corners first, then sides, the middle last.
MESM_BLOCK int bit_of(int tap) {
  constexpr uint64_t kBits = 0x516203748;  // four bits for each tap
  return static_cast<int>(kBits >> (4 * tap) & 15);
}

// The key by which rows ascend: the place of their pattern's code in a Gray code, from its end.
// Keys side by side differ in one tap, and the fullest patterns come first.
MESM_BLOCK uint32_t key_of_code(uint32_t code) {
  code ^= code >> 1;
  code ^= code >> 2;
  code ^= code >> 4;
  code ^= code >> 8;
  return kPatterns - 1 - code;
}

// The taps of a key's pattern, a bit each.
MESM_BLOCK uint32_t pattern_of_key(uint32_t key) {
  const uint32_t place = kPatterns - 1 - key;
  const uint32_t code = place ^ place >> 1;
  uint32_t pattern = 0;
  MESM_UNROLL
  for (int tap = 0; tap < kTaps; ++tap) pattern |= (code >> bit_of(tap) & 1) << tap;
  return pattern;
}

struct Maps {
  const int32_t* sites;    // (rows,)
  const int32_t* offsets;  // (frames + 1,)
  int64_t frames, rows;
  int32_t height, width;

  MESM_BLOCK int32_t area() const { return height * width; }              // at most kMostSites
  MESM_BLOCK int32_t pooled() const { return height / 2 * (width / 2); }  // windows of the pool

  // A frame's candidates, given its offsets; invalid offsets may name more rows than there are
  // sites.
  MESM_BLOCK RowRange candidates(int32_t begin, int32_t end) const {
    RowRange range = rows_between(begin, end, rows);
    if (range.end - range.begin > area()) range.end = range.begin + area();
    return range;
  }

  MESM_BLOCK uint16_t site_of(int64_t row) const {
    const int32_t site = sites[row];
    return static_cast<uint16_t>(site >= 0 && site < area() ? site : kNowhere);
  }
};

// A kept row of a frame.
struct alignas(8) RankedRow {
  uint16_t key;
  uint16_t rank;  // how many of the frame's kept rows before this row have the same key
  uint16_t candidate, site;
};

// Results of the steps for the steps after.
struct Ranked {
  RankedRow* rows;   // (rows,): a frame's kept rows begin where its candidates do
  int32_t* counts;   // (frames, kPatterns): kept rows of each key
  int32_t* kept;     // (frames,): kept rows
  int32_t* windows;  // (frames,): windows of the pool with a kept row
};

struct Rank {
  Maps maps;
  const float* logits;  // (rows,)
  double p;
  float* attention;  // (rows,)
  Ranked to;
};

// Shared memory of the step; the last three arrays only for maps of at most kSharedSites.
struct RankMemory {
  char* exchange;
  CutShared* cut;
  uint16_t* counts;  // [warps][kPatterns]: a warp's rows of each key, later the rows before
  uint8_t* active;   // [area]: whether a kept row is at the site
  RankedRow* rows;   // [area]
  float* weights;    // [area]
  uint16_t* sites;   // [area]: the candidates' sites

  using Zeros = Pack<uint32_t, 4>;

  static constexpr int64_t bytes(int64_t area, int warps) {
    const int64_t resident = area <= kSharedSites ? sizeof(RankedRow) + 4 + 2 : 0;
    return Exchange::kBytes + sizeof(CutShared) + warps * kPatterns * 2 +
           (area + 15) / 16 * 16 * (1 + resident);
  }

  static MESM_BLOCK RankMemory at(void* shared, int32_t area) {
    const int32_t whole = (area + 15) / 16 * 16;
    RankMemory memory;
    memory.exchange = static_cast<char*>(shared);
    memory.cut = reinterpret_cast<CutShared*>(memory.exchange + Exchange::kBytes);
    memory.counts = reinterpret_cast<uint16_t*>(memory.cut + 1);
    memory.active = reinterpret_cast<uint8_t*>(memory.counts + warps() * kPatterns);
    memory.rows = reinterpret_cast<RankedRow*>(memory.active + whole);
    memory.weights = reinterpret_cast<float*>(memory.rows + whole);
    memory.sites = reinterpret_cast<uint16_t*>(memory.weights + whole);
    return memory;
  }

  MESM_BLOCK void clear(int32_t area) const {
    Zeros* zeros = reinterpret_cast<Zeros*>(counts);
    const int32_t number = (warps() * kPatterns * 2 + area + 15) / 16;
    for_each(number, [&](int64_t i) { zeros[i] = Zeros{}; });
  }
};

// The key of the row at a site. active: complete for all threads.
MESM_BLOCK uint32_t key_at(const Maps& maps, const uint8_t* active, uint32_t site) {
  if (site == kNowhere) return key_of_code(0);
  const int32_t width = maps.width;
  const int32_t y = static_cast<int32_t>(site) / width;
  const int32_t x = static_cast<int32_t>(site) - y * width;
  uint32_t code = 0;
  MESM_UNROLL
  for (int tap = 0; tap < kTaps; ++tap) {
    const int dy = tap / 3 - 1, dx = tap % 3 - 1;
    const bool inside = (dy >= 0 || y > 0) && (dy <= 0 || y + 1 < maps.height) &&
                        (dx >= 0 || x > 0) && (dx <= 0 || x + 1 < width);
    const bool there = inside && active[static_cast<int32_t>(site) + dy * width + dx] != 0;
    code |= static_cast<uint32_t>(there) << bit_of(tap);
  }
  return key_of_code(code);
}

// How many of this thread's windows of the pool have a kept row.
MESM_BLOCK uint32_t active_windows(const Maps& maps, const uint8_t* active) {
  uint32_t mine = 0;
  for_each(maps.pooled(), [&](int64_t window) {
    const int32_t across = maps.width / 2;
    const int32_t y = static_cast<int32_t>(window) / across;
    const int32_t x = static_cast<int32_t>(window) - y * across;
    const uint8_t* site = active + 2 * y * maps.width + 2 * x;
    mine += (site[0] | site[1] | site[maps.width] | site[maps.width + 1]) != 0;
  });
  return mine;
}

// Adds key and rank to rows[0, number), whose candidates and sites are complete for all threads,
// and writes the rows to `to`. A warp takes a run of rows and counts its rows of each key on the
// way; then the counts of each key are summed up over the warps.
MESM_BLOCK void rank_rows(const Rank& op, int64_t frame, const RankMemory& memory, RankedRow* rows,
                          int32_t number, Exchange& exchange, RankedRow* to) {
  const int32_t steps = steps_of_run(number);
  const int32_t run = warp() * steps * kLanes;
  const uint32_t lower = (1u << lane()) - 1;
  uint16_t* counts = memory.counts + warp() * kPatterns;
  MESM_ROLLED
  for (int32_t step = 0; step < steps; ++step) {
    const int32_t i = run + step * kLanes + lane();
    const bool there = i < number;
    RankedRow row{};
    uint32_t key = kPatterns;  // for a lane without a row
    if (there) {
      row = rows[i];
      key = key_at(op.maps, memory.active, row.site);
    }
    const uint32_t alike = warp_match(key);
    if (there) {
      row.key = static_cast<uint16_t>(key);
      row.rank = static_cast<uint16_t>(counts[key] + ones(alike & lower));
      rows[i] = row;
    }
    warp_sync();
    if (there && (alike & lower) == 0) counts[key] += static_cast<uint16_t>(ones(alike));
    warp_sync();
  }
  const uint32_t windows = block_sum(active_windows(op.maps, memory.active), exchange);
  for_each(kPatterns, [&](int64_t key) {
    uint32_t before = 0;
    MESM_ROLLED
    for (int i = 0; i < warps(); ++i) {
      uint16_t& count = memory.counts[i * kPatterns + key];
      const uint32_t own = count;
      count = static_cast<uint16_t>(before);
      before += own;
    }
    op.to.counts[frame * kPatterns + key] = static_cast<int32_t>(before);
  });
  sync();
  MESM_ROLLED
  for (int32_t step = 0; step < steps; ++step) {
    const int32_t i = run + step * kLanes + lane();
    if (i >= number) break;
    RankedRow row = rows[i];  // written by this thread above
    row.rank = static_cast<uint16_t>(row.rank + counts[row.key]);
    to[i] = row;
  }
  for_each(1, [&](int64_t) {
    op.to.kept[frame] = number;
    op.to.windows[frame] = static_cast<int32_t>(windows);
  });
}

// selects: keep the nucleus, else every row. in_shared: the map has at most kSharedSites.
template <bool selects, bool in_shared>
MESM_BLOCK void rank_candidates(const Rank& op, int64_t frame, void* shared) {
  const Maps& maps = op.maps;
  const RankMemory memory = RankMemory::at(shared, maps.area());
  memory.clear(maps.area());
  Exchange exchange{memory.exchange};
  const RowRange range = maps.candidates(maps.offsets[frame], maps.offsets[frame + 1]);
  const int64_t first = range.begin;
  const int32_t count = static_cast<int32_t>(range.end - first);
  RankedRow* to = op.to.rows + first;
  RankedRow* rows = in_shared ? memory.rows : to;
  const auto keep = [&](int32_t i, uint16_t site, int32_t number) {
    rows[number] = {0, 0, static_cast<uint16_t>(i), site};
    if (site != kNowhere) memory.active[site] = 1;
  };
  int32_t number = count;
  if constexpr (selects) {
    struct Candidate {
      float logit;
      uint16_t site;
    };
    const float* logits = op.logits + first;
    float* attention = op.attention + first;
    float* weights = in_shared ? memory.weights : attention;
    if constexpr (in_shared) {
      load_each<8>(
          count, [&](int64_t i) { return Candidate{logits[i], maps.site_of(first + i)}; },
          [&](int64_t i, const Candidate& candidate) {
            weights[i] = candidate.logit;
            memory.sites[i] = candidate.site;
          });
    }
    number = nucleus(in_shared ? weights : logits, count, op.p, weights, exchange, *memory.cut,
                     [&](int32_t i, int32_t place) {
                       keep(i, in_shared ? memory.sites[i] : maps.site_of(first + i), place);
                     });
    if constexpr (in_shared) for_each(count, [&](int64_t i) { attention[i] = weights[i]; });
  } else {
    sync();
    load_each<4>(
        count, [&](int64_t i) { return maps.site_of(first + i); },
        [&](int64_t i, uint16_t site) { keep(static_cast<int32_t>(i), site, i); });
  }
  sync();
  rank_rows(op, frame, memory, rows, number, exchange, to);
}

// One block's part of the launch: a frame, and a share of the padding. The padding comes last, as
// its extent has to be loaded first.
template <bool selects, bool in_shared>
MESM_BLOCK void rank_frame(const Rank& op, int64_t frame, void* shared) {
  const Maps& maps = op.maps;
  if (frame < maps.frames) rank_candidates<selects, in_shared>(op, frame, shared);
  if constexpr (selects) {
    const int64_t active = row_at(maps.offsets, maps.frames, maps.rows);
    fill(op.attention, share_of(active, maps.rows, frame, maps.frames > 0 ? maps.frames : 1), 0.0f);
  }
}

}  // namespace mesm_ops
