// A group of frames in shared memory: what each frame keeps, in which slot each kept row is held,
// and what its neighbours' slots are.
#pragma once

#include "sparse_cross_modal_block_held.cuh"

namespace mesm_ops {

// Sizes of a launch, the same for all groups.
struct GroupShape {
  int32_t frames;                     // of a group, the last one may have fewer
  int32_t most;                       // rows of a frame that are held
  int32_t slots;                      // for the rows of all, a multiple of kSubtile
  int32_t channels, middle, columns;  // multiples of kStepDepth
  int32_t area, windows;              // of a frame

  int32_t sites() const { return frames * area; }
};

// No frame keeps more than this, as it keeps the most attended candidates, unless its attention is
// NaN: the rows whose mean attention reaches p, one that rounding may ask for, and one begun.
inline int32_t most_kept(double p, int32_t area) {
  const double share = p * area + 2;
  return share < area ? static_cast<int32_t>(share) : area;
}

constexpr int32_t kMostFrames = 8;  // of a group

struct GroupFrame {
  int32_t first, candidates;  // its rows
  int32_t begin, kept;        // where its held rows begin, and how many rows it keeps
  int32_t whole;              // its attention is NaN: it keeps all, and none is held
};

// Which group it is, and what it adds up to: here and not in registers, which are full.
struct GroupNow {
  int64_t part;
  uint64_t own, before;
};

// Where everything lies in shared memory, in bytes from its beginning.
struct GroupLayout {
  int32_t x, y, stages;         // and before that, the scores; and after that, the last result
  int32_t keys, ranked, sizes;  // while slots are found, in place of the stages
  int32_t words, table, kept, scale, site, order, windows, taps, frames, exchange, now;
  int64_t bytes;
};

// T: of the convolutions, S: of the scores.
template <class T, class S>
GroupLayout make_layout(const GroupShape& s) {
  GroupLayout l{};
  int64_t at = 0;
  const auto take = [&](int64_t bytes) {
    const int64_t from = at;
    at += (bytes + 127) / 128 * 128;
    return static_cast<int32_t>(from);
  };
  l.x = take(int64_t{2} * (s.slots + 1) * s.channels);
  l.y = take(int64_t{2} * (s.slots + 1) * s.middle);
  l.stages = l.keys = take(T::kStagesBytes);
  l.ranked = l.keys + s.slots * 4;
  l.sizes = l.ranked + s.slots * 2;
  static_assert(T::kRows * 6 + kKeys * 4 <= T::kStagesBytes);
  const int64_t result = int64_t{2} * s.slots * s.columns;
  const int64_t scores = SelectMemory<S>::bytes(s.area);
  for (const int64_t least : {result, scores}) {
    if (at < least) take(least - at);
  }
  l.words = take(int64_t{2} * kTaps * s.slots);
  l.table = take(int64_t{2} * s.sites());
  l.kept = take(int64_t{4} * s.slots);
  l.scale = take(int64_t{4} * s.slots);
  l.site = take(int64_t{2} * s.slots);
  l.order = take(int64_t{2} * s.slots);
  l.windows = take(int64_t{2} * s.frames * s.windows);
  l.taps = take(s.slots / kSubtile * 4);
  l.frames = take(sizeof(GroupFrame) * kMostFrames);
  l.exchange = take(Exchange::kBytes);
  l.now = take(sizeof(GroupNow));
  l.bytes = at;
  return l;
}

struct GroupMemory {
  static constexpr uint16_t kNone = 0xffff;   // no row at the site; of a row: no site in the map
  static constexpr uint16_t kWhole = 0xfffe;  // one of a frame that is NaN

  uint16_t *x, *y;
  uint32_t* keys;
  uint16_t* ranked;
  int32_t* sizes;
  uint16_t* words;    // [kTaps][slots]
  uint16_t* table;    // [frames * area], the slot of a site
  int32_t* kept;      // [slots], the row a held row comes from
  float* scale;       // [slots], what it is multiplied by
  uint16_t* site;     // [slots], frame * area + site
  uint16_t* order;    // [slots], which of the held rows is in the slot
  uint16_t* windows;  // the active ones, frame * windows + window
  uint32_t* taps;
  GroupFrame* frames;
  GroupNow* now;

  MESM_BLOCK GroupMemory(void* shared, const GroupLayout& l) {
    char* at = static_cast<char*>(shared);
    x = reinterpret_cast<uint16_t*>(at + l.x);
    y = reinterpret_cast<uint16_t*>(at + l.y);
    keys = reinterpret_cast<uint32_t*>(at + l.keys);
    ranked = reinterpret_cast<uint16_t*>(at + l.ranked);
    sizes = reinterpret_cast<int32_t*>(at + l.sizes);
    words = reinterpret_cast<uint16_t*>(at + l.words);
    table = reinterpret_cast<uint16_t*>(at + l.table);
    kept = reinterpret_cast<int32_t*>(at + l.kept);
    scale = reinterpret_cast<float*>(at + l.scale);
    site = reinterpret_cast<uint16_t*>(at + l.site);
    order = reinterpret_cast<uint16_t*>(at + l.order);
    windows = reinterpret_cast<uint16_t*>(at + l.windows);
    taps = reinterpret_cast<uint32_t*>(at + l.taps);
    frames = reinterpret_cast<GroupFrame*>(at + l.frames);
    now = reinterpret_cast<GroupNow*>(at + l.now);
  }
};

// A site of the group by its coordinates.
struct GroupSite {
  int32_t base, y, x;  // base: of its frame

  MESM_BLOCK GroupSite(int32_t site, const Maps& maps) {
    const int32_t inside = site % maps.area();
    base = site - inside;
    y = inside / maps.width;
    x = inside % maps.width;
  }
  MESM_BLOCK static int key(int32_t y, int32_t x) { return (x + 3 * y + 4 * kKeys) % kKeys; }
  // The site at a tap, -1 outside.
  MESM_BLOCK int32_t at(int tap, const Maps& maps) const {
    const int32_t v = y + tap / 3 - 1, u = x + tap % 3 - 1;
    const bool inside = v >= 0 && v < maps.height && u >= 0 && u < maps.width;
    return inside ? base + v * maps.width + u : -1;
  }
};

// Finds a slot for each of `held` rows, of which kept and site are known and all else is not. Of
// each key the rows lie side by side by their taps, one in every eight slots: so eights have eight
// keys, and sixteens like taps. A key that has too many rows fills up those that have too few.
// The table must tell which sites have a row; then it tells their slots.
MESM_BLOCK void find_slots(const GroupMemory& m, const Maps& maps, int32_t slots, int32_t held) {
  constexpr int kKeyShift = 16 + kTaps;
  const int32_t eights = (held + kSubtile - 1) / kSubtile * 2;
  for_each(kKeys, [&](int64_t key) { m.sizes[key] = 0; });
  for_each(slots, [&](int64_t slot) { m.order[slot] = GroupMemory::kNone; });
  for_each(held, [&](int64_t i) {
    uint32_t taps = 0;
    uint32_t key = static_cast<uint32_t>(i) % kKeys;
    if (m.site[i] != GroupMemory::kNone) {
      const GroupSite site(m.site[i], maps);
      key = GroupSite::key(site.y, site.x);
      for (int tap = 0; tap < kTaps; ++tap) {
        const int32_t there = site.at(tap, maps);
        const bool is = there >= 0 && m.table[there] != GroupMemory::kNone;
        taps |= static_cast<uint32_t>(is) << tap;
      }
    }
    m.keys[i] = key << kKeyShift | place_of_taps(taps) << 16 | static_cast<uint32_t>(i);
  });
  sync();
  for_each(held, [&](int64_t i) {
    const uint32_t mine = m.keys[i], first = mine >> kKeyShift << kKeyShift;
    int32_t rank = 0, size = 0;
    for (int32_t j = 0; j < held; ++j) {
      const uint32_t other = m.keys[j];
      size += other >> kKeyShift == mine >> kKeyShift;
      rank += other >= first && other < mine;
    }
    m.ranked[i] = static_cast<uint16_t>(rank);
    if (rank == 0) m.sizes[mine >> kKeyShift] = size;
  });
  sync();
  for_each(held, [&](int64_t i) {
    int32_t key = static_cast<int32_t>(m.keys[i] >> kKeyShift), rank = m.ranked[i];
    if (rank >= eights) {
      int32_t over = rank - eights;  // of all that find no place with their key
      for (int other = 0; other < key; ++other) {
        over += m.sizes[other] > eights ? m.sizes[other] - eights : 0;
      }
      for (key = 0; key < kKeys; ++key) {
        const int32_t holes = eights > m.sizes[key] ? eights - m.sizes[key] : 0;
        if (over < holes) break;
        over -= holes;
      }
      rank = m.sizes[key] + over;
    }
    const int32_t slot = rank * kKeys + key;
    m.order[slot] = static_cast<uint16_t>(i);
    const int32_t site = m.site[i];
    if (site != GroupMemory::kNone) m.table[site] = static_cast<uint16_t>(slot);
  });
  sync();
}

// The words of all slots, and the taps of each sixteen.
MESM_BLOCK void fill_words(const GroupMemory& m, const Maps& maps, int32_t slots) {
  for_each(slots * kTaps, [&](int64_t wide) {
    const int32_t slot = static_cast<int32_t>(wide) % slots,
                  tap = static_cast<int32_t>(wide) / slots;
    const int32_t i = m.order[slot];
    const int32_t at = i == GroupMemory::kNone ? GroupMemory::kNone : m.site[i];
    int32_t row = slots;  // the row of zeros
    int key = slot % kKeys;
    if (at != GroupMemory::kNone) {
      const GroupSite site(at, maps);
      key = GroupSite::key(site.y + tap / 3 - 1, site.x + tap % 3 - 1);
      const int32_t there = site.at(tap, maps);
      if (there >= 0 && m.table[there] != GroupMemory::kNone) row = m.table[there];
    }
    m.words[wide] = held_word(row, key);
  });
  sync();
  for_each(slots / kSubtile, [&](int64_t i) {
    uint32_t taps = 0;
    for (int tap = 0; tap < kTaps; ++tap) {
      const uint16_t* words = m.words + tap * slots + i * kSubtile;
      bool any = false;
      for (int j = 0; j < kSubtile; ++j) any = any || words[j] / kKeys != slots;
      taps |= static_cast<uint32_t>(any) << tap;
    }
    m.taps[i] = taps;
  });
}

}  // namespace mesm_ops
