// All of the block for a group of frames: scores, nucleus, both convolutions and the pool, nothing
// between them in memory. Where a group's rows go in the outputs comes by look-back.
#pragma once

#include <algorithm>

#include "look_back.cuh"
#include "rows.cuh"
#include "sparse_cross_modal_block_convolve.cuh"
#include "sparse_cross_modal_block_slots.cuh"

namespace mesm_ops {

struct HeldStage {
  const uint16_t* packed;  // (kTaps, columns, depth)
  const float *scale, *shift;
};

struct Group {
  Select select;  // whose outputs are none
  GroupShape shape;
  GroupLayout layout;
  HeldStage stages[2];
  LookBack look_back;
  int64_t out_rows;
  uint16_t* out;                        // (out_rows, columns)
  int32_t* out_sites;                   // (out_rows,)
  int32_t* rows;                        // (maps.rows,), the kept ones of all frames, -1 in padding
  int32_t *kept_offsets, *out_offsets;  // (frames + 1,)

  // One at least: what is padding must be written.
  MESM_BLOCK int64_t groups() const {
    const int64_t number = (select.maps.frames + shape.frames - 1) / shape.frames;
    return number < 1 ? 1 : number;
  }
};

// What a group adds up to, and all groups before it: both below 2^31, in one word.
struct GroupSums {
  int32_t kept, windows;

  MESM_BLOCK uint64_t word() const {
    return static_cast<uint64_t>(windows) << 31 | static_cast<uint32_t>(kept);
  }
  static MESM_BLOCK GroupSums of(uint64_t word) {
    return {static_cast<int32_t>(word & INT32_MAX), static_cast<int32_t>(word >> 31 & INT32_MAX)};
  }
};

// How many rows are held, and how many kept.
struct GroupRows {
  int32_t held = 0, kept = 0;
};

// Scores and nucleus of each frame; the table tells which sites have a row.
template <class S>
MESM_BLOCK GroupRows select_group(const Group& g, int64_t first_frame, int32_t frames, void* shared,
                                  const GroupMemory& m, Exchange& exchange) {
  const Maps& maps = g.select.maps;
  const SelectMemory<S> own = SelectMemory<S>::at(shared, maps);
  GroupRows all;
  for_each(g.shape.frames * maps.area(), [&](int64_t i) { m.table[i] = GroupMemory::kNone; });
  for (int32_t f = 0; f < frames; ++f) {
    const int32_t first = maps.first(first_frame + f);
    const int32_t count = maps.candidates(first_frame + f);
    score<S>(g.select, first_frame + f, S::memory(shared), own);
    sync();
    const auto place_of = [&](int32_t i) {
      const int32_t site = maps.sites[first + i];
      return site >= 0 && site < maps.area() ? f * maps.area() + site : GroupMemory::kNone;
    };
    int32_t kept = 0;
    if (count > 0) {
      const auto emit = [&](int32_t i, int32_t number) {
        if (number >= g.shape.most) return;
        const int32_t at = all.held + number;
        m.kept[at] = first + i;
        m.scale[at] = static_cast<float>(count) * own.scores[i];
        const int32_t site = place_of(i);
        m.site[at] = static_cast<uint16_t>(site);
      };
      kept = nucleus(own.scores, count, g.select.p, own.scores, exchange, emit);
    }
    const bool whole = kept > g.shape.most;
    sync();
    for_each(whole ? count : kept, [&](int64_t i) {
      const int32_t site = whole ? place_of(static_cast<int32_t>(i)) : m.site[all.held + i];
      if (site != GroupMemory::kNone) m.table[site] = whole ? GroupMemory::kWhole : 0;
    });
    for_each(1, [&](int64_t) { m.frames[f] = {first, count, all.held, kept, whole}; });
    all.held += whole ? 0 : kept;
    all.kept += kept;
    sync();
  }
  return all;
}

// The active windows in ascending order; returns how many.
MESM_BLOCK int32_t find_windows(const Group& g, int32_t frames, const GroupMemory& m,
                                Exchange& exchange) {
  const Maps& maps = g.select.maps;
  const auto active = [&](int32_t window) {
    const int32_t across = maps.width / 2;
    const int32_t inside = window % g.shape.windows;
    const uint16_t* site = m.table + window / g.shape.windows * maps.area() +
                           inside / across * 2 * maps.width + inside % across * 2;
    return site[0] != GroupMemory::kNone || site[1] != GroupMemory::kNone ||
           site[maps.width] != GroupMemory::kNone || site[maps.width + 1] != GroupMemory::kNone;
  };
  const int32_t all = frames * g.shape.windows;
  const Count counted = count_where(all, active, exchange);
  emit_where(all, active, counted,
             [&](int32_t i, int32_t number) { m.windows[number] = static_cast<uint16_t>(i); });
  return counted.number;
}

// The kept features, each in its slot; the rows of zeros.
template <class E>
MESM_BLOCK void fill_rows(const Group& g, const GroupMemory& m) {
  const int pieces = g.shape.channels / kPiece, middle = g.shape.middle / kPiece;
  const int32_t slots = g.shape.slots;
  for_each(slots * pieces, [&](int64_t wide) {
    const int32_t slot = static_cast<int32_t>(wide) / pieces;
    const int32_t t = static_cast<int32_t>(wide) % pieces;
    const int32_t i = m.order[slot];
    if (i == GroupMemory::kNone) return;
    Piece piece = *reinterpret_cast<const Piece*>(
        g.select.product.a + static_cast<int64_t>(m.kept[i]) * g.shape.channels + t * kPiece);
    scale_piece<E>(piece, m.scale[i]);
    const int key = m.words[kTaps / 2 * slots + slot] % kKeys;
    *reinterpret_cast<Piece*>(m.x + held_at(held_word(slot, key), pieces, t)) = piece;
  });
  for_each(pieces + middle, [&](int64_t i) {
    uint16_t* row = i < pieces ? m.x + (slots * pieces + i) * kPiece
                               : m.y + (slots * middle + i - pieces) * kPiece;
    *reinterpret_cast<Piece*>(row) = Piece{};
  });
}

// relu(norm(conv(from))), each row in its slot of `to`.
template <class T>
MESM_BLOCK void convolve_group(const HeldStage& stage, const HeldProduct& product,
                               const typename T::Memory& memory, uint16_t* to) {
  typename T::Block block;
  T::run(product, memory, block);
  T::each(memory, block, [&](int slot, int column, const float* sums) {
    const int word = memory.words[kTaps / 2 * memory.slots + slot];
    if (word / kKeys != slot || column >= product.columns) return;
    const int at = held_at(word, product.columns / kPiece, column / kPiece);
    *reinterpret_cast<Piece*>(to + at) =
        rectified<typename T::E>(sums, stage.scale + column, stage.shift + column);
  });
  sync();
}

// The pool of `from`, and sites and offsets of the group.
template <class E>
MESM_BLOCK void write_windows(const Group& g, int64_t first_frame, int32_t frames, int32_t number,
                              int64_t before, const GroupMemory& m, const uint16_t* from) {
  const Maps& maps = g.select.maps;
  const int32_t across = maps.width / 2;
  const int pieces = g.shape.columns / kPiece;
  for_each(number * pieces, [&](int64_t wide) {
    const int32_t i = static_cast<int32_t>(wide) / pieces;
    const int t = static_cast<int32_t>(wide) % pieces;
    const int64_t to = before + i;
    if (to >= g.out_rows) return;
    const int32_t window = m.windows[i], inside = window % g.shape.windows;
    const uint16_t* site = m.table + window / g.shape.windows * maps.area() +
                           inside / across * 2 * maps.width + inside % across * 2;
    Piece best{};
    bool any = false;
    for (int c = 0; c < 4; ++c) {
      const int slot = site[c / 2 * maps.width + c % 2];
      if (slot == GroupMemory::kNone) continue;
      if (slot == GroupMemory::kWhole) {
        const uint32_t nan = E::narrow(float_of(0x7fc00000u));
        for (uint32_t& word : best.words) word = nan | nan << 16;
        break;
      }
      const int word = m.words[kTaps / 2 * g.shape.slots + slot];
      raise<E>(best, from + held_at(word, pieces, t), any);
      any = true;
    }
    *reinterpret_cast<Piece*>(g.out + to * g.shape.columns + t * kPiece) = best;
    if (t == 0) g.out_sites[to] = inside;
  });
  for_each(frames, [&](int64_t f) {
    int32_t low = 0, high = number;  // the first window that is of a later frame
    while (low < high) {
      const int32_t middle = (low + high) / 2;
      if (m.windows[middle] < (f + 1) * g.shape.windows) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    g.out_offsets[first_frame + f + 1] = static_cast<int32_t>(before + low);
  });
}

// The numbers of the rows that the group keeps, and their offsets.
MESM_BLOCK void write_kept(const Group& g, int64_t first_frame, int32_t frames, int64_t before,
                           const GroupMemory& m) {
  for (int32_t f = 0; f < frames; ++f) {
    const GroupFrame frame = m.frames[f];
    for_each(frame.kept, [&](int64_t i) {
      if (before + i >= g.select.maps.rows) return;
      g.rows[before + i] =
          frame.whole ? frame.first + static_cast<int32_t>(i) : m.kept[frame.begin + i];
    });
    before += frame.kept;
    for_each(1,
             [&](int64_t) { g.kept_offsets[first_frame + f + 1] = static_cast<int32_t>(before); });
  }
}

// The group's share of the padding: as many rows as it drops and as many windows as it leaves
// empty, the first group's last; and of what was padding before.
MESM_BLOCK void write_padding(const Group& g, int64_t part, int64_t first_frame, int32_t frames,
                              GroupSums before, GroupSums own, const GroupMemory& m) {
  const Maps& maps = g.select.maps;
  const int64_t windows = g.shape.windows;
  const int64_t end = maps.frames * windows - (first_frame * windows - before.windows);
  const int64_t begin = end - (frames * windows - own.windows);
  const int64_t pieces = g.shape.columns / kPiece;
  const int64_t last = end < g.out_rows ? end : g.out_rows;
  if (begin >= 0 && begin < last) {
    for_each((last - begin) * pieces, [&](int64_t i) {
      *reinterpret_cast<Piece*>(g.out + begin * g.shape.columns + i * kPiece) = Piece{};
    });
    for_each(last - begin, [&](int64_t i) { g.out_sites[begin + i] = 0; });
  }
  const int64_t active = maps.first(maps.frames);
  fill(g.rows, share_of(active, maps.rows, part, g.groups()), -1);
  int64_t dropped = -static_cast<int64_t>(own.kept);
  for (int32_t f = 0; f < frames; ++f) dropped += m.frames[f].candidates;
  const int64_t kept_end = active - (maps.first(first_frame) - before.kept);
  if (frames > 0 && dropped > 0 && kept_end - dropped >= 0 && kept_end <= maps.rows) {
    fill(g.rows, {kept_end - dropped, kept_end}, -1);
  }
}

// The frames of a group.
struct GroupFrames {
  int64_t first;
  int32_t number;

  MESM_BLOCK GroupFrames(const Group& g, int64_t part) : first(part * g.shape.frames) {
    const int64_t left = g.select.maps.frames - first;
    number = static_cast<int32_t>(left < g.shape.frames ? left : g.shape.frames);
  }
};

// All up to the convolutions.
template <class E, class S>
MESM_BLOCK void begin_group(const Group& g, void* shared) {
  const Maps& maps = g.select.maps;
  const GroupMemory m(shared, g.layout);
  const GroupFrames frames(g, m.now->part);
  Exchange exchange{static_cast<char*>(shared) + g.layout.exchange};
  const GroupRows rows = select_group<S>(g, frames.first, frames.number, shared, m, exchange);
  const GroupSums own{rows.kept, find_windows(g, frames.number, m, exchange)};
  if (thread() == 0) {
    m.now->own = own.word();
    g.look_back.post(m.now->part, own.word());
  }
  find_slots(m, maps, g.shape.slots, rows.held);
  fill_words(m, maps, g.shape.slots);
  fill_rows<E>(g, m);
  sync();
}

// All after them.
template <class E>
MESM_BLOCK void end_group(const Group& g, void* shared, const uint16_t* result) {
  const GroupMemory m(shared, g.layout);
  const int64_t part = m.now->part;
  const GroupFrames frames(g, part);
  const GroupSums own = GroupSums::of(m.now->own), before = GroupSums::of(m.now->before);
  if (part == 0 && thread() == 0) g.kept_offsets[0] = g.out_offsets[0] = 0;
  write_windows<E>(g, frames.first, frames.number, own.windows, before.windows, m, result);
  write_kept(g, frames.first, frames.number, before.kept, m);
  write_padding(g, part, frames.first, frames.number, before, own, m);
}

// One block's part of the launch: groups until there are none. T: of the convolutions, S: of the
// scores. The threads are T's and S's.
template <class T, class S>
MESM_BLOCK void run_groups(const Group& g, void* shared) {
  using E = typename T::E;
  const GroupMemory m(shared, g.layout);
  const typename T::Memory memory{
      reinterpret_cast<uint16_t*>(static_cast<char*>(shared) + g.layout.stages), m.words, m.taps,
      g.shape.slots};
  for (;;) {
    if (thread() == 0) m.now->part = g.look_back.take_part();
    sync();
    if (m.now->part >= g.groups()) return;
    begin_group<E, S>(g, shared);
    convolve_group<T>(g.stages[0], {m.x, g.stages[0].packed, g.shape.channels, g.shape.middle},
                      memory, m.y);
    // All groups before have posted by now, so that nobody waits long.
    if (warp() == 0) {
      const uint64_t before = g.look_back.sum_before(m.now->part, m.now->own);
      if (lane() == 0) m.now->before = before;
    }
    // Over what it is made of: products are in registers when they are written.
    uint16_t* result = static_cast<uint16_t*>(shared);
    convolve_group<T>(g.stages[1], {m.y, g.stages[1].packed, g.shape.middle, g.shape.columns},
                      memory, result);
    end_group<E>(g, shared, result);
    sync();
  }
}

}  // namespace mesm_ops
