// Where rows go once every frame knows what it keeps: offsets, the kept rows side by side, their
// neighbours, the windows of the pool, and an order of rows in which tiles can leave out taps.
#pragma once

#include "sparse_cross_modal_block_select.cuh"

namespace mesm_ops {

constexpr int kTaps = 9;
constexpr int kParts = 256;

// ends[i] = at(0) + ... + at(i), by one block. shared: kParts int32.
template <class At>
MESM_BLOCK void sum_up(int64_t count, const At& at, int32_t* ends, int32_t* shared) {
  const int64_t each = (count + kParts - 1) / kParts;
  const auto end_of = [&](int64_t part) {
    return (part + 1) * each < count ? (part + 1) * each : count;
  };
  for_each(kParts, [&](int64_t part) {
    int32_t sum = 0;
    for (int64_t i = part * each; i < end_of(part); ++i) sum += static_cast<int32_t>(at(i));
    shared[part] = sum;
  });
  sync();
  for_each(kParts, [&](int64_t part) {
    int32_t sum = 0;
    for (int64_t before = 0; before < part; ++before) sum += shared[before];
    for (int64_t i = part * each; i < end_of(part); ++i) {
      sum += static_cast<int32_t>(at(i));
      ends[i] = sum;
    }
  });
  sync();
}

struct Places {
  Maps maps;
  const uint16_t* features;  // (rows, channels)
  int channels;
  int64_t out_rows;
  const int32_t* kept;  // as `select` left them
  const float* scale;
  const int32_t *kept_offsets, *out_offsets;  // (frames + 1,)
  bool weighted;
  int32_t* rows;        // (maps.rows,): the kept rows of all frames, -1 in padding
  uint16_t* x;          // (maps.rows, channels): the kept features
  int32_t* neighbours;  // (maps.rows, kTaps): kept row at the site's neighbours, -1: none
  int32_t* windows;     // (out_rows, 4): kept rows of each window
  int32_t* out_sites;   // (out_rows,)

  static constexpr int64_t bytes(int64_t area) { return (area + area / 128 + 2) * 4; }
};

template <class E>
MESM_BLOCK void scale_piece(Piece& piece, float scale) {
  MESM_UNROLL
  for (int w = 0; w < 4; ++w) {
    const uint32_t word = piece.words[w];
    const uint32_t low = E::narrow(E::widen(static_cast<uint16_t>(word)) * scale);
    const uint32_t high = E::narrow(E::widen(static_cast<uint16_t>(word >> 16)) * scale);
    piece.words[w] = low | high << 16;
  }
}

// shared: Places::bytes.
template <class E>
MESM_BLOCK void place(const Places& p, int64_t frame, void* shared) {
  const Maps& maps = p.maps;
  const int32_t area = maps.area(), width = maps.width, height = maps.height;
  const int32_t first = maps.first(frame);
  const int64_t begin = p.kept_offsets[frame];
  int64_t count = p.kept_offsets[frame + 1] - begin;
  if (begin + count > maps.rows) count = maps.rows > begin ? maps.rows - begin : 0;
  int32_t* table = static_cast<int32_t*>(shared);                // site -> kept row or -1
  uint32_t* active = reinterpret_cast<uint32_t*>(table + area);  // a bit for each window
  const int32_t* kept = p.kept + first;
  for_each(area, [&](int64_t site) { table[site] = -1; });
  sync();
  for_each(count, [&](int64_t i) {
    const int32_t site = maps.sites[kept[i]];
    if (site >= 0 && site < area) table[site] = static_cast<int32_t>(begin + i);
    p.rows[begin + i] = kept[i];
  });
  sync();
  for_each(count * kTaps, [&](int64_t wide) {
    const int32_t i = static_cast<int32_t>(wide);  // of a frame: its division is the faster one
    const int32_t site = maps.sites[kept[i / kTaps]];
    const int32_t y = site / width + i % kTaps / 3 - 1;
    const int32_t x = site % width + i % kTaps % 3 - 1;
    const bool inside = site >= 0 && y >= 0 && y < height && x >= 0 && x < width;
    p.neighbours[begin * kTaps + i] = inside ? table[y * width + x] : -1;
  });
  const int pieces = p.channels / kPiece;
  for_each(count * pieces, [&](int64_t wide) {
    const int32_t i = static_cast<int32_t>(wide);
    const int32_t row = i / pieces;
    const int32_t at = i % pieces * kPiece;
    Piece piece = *reinterpret_cast<const Piece*>(
        p.features + static_cast<int64_t>(kept[row]) * p.channels + at);
    if (p.weighted) scale_piece<E>(piece, p.scale[first + row]);
    *reinterpret_cast<Piece*>(p.x + (begin + row) * p.channels + at) = piece;
  });
  const int32_t across = width / 2;
  const auto corner = [&](int64_t window, int c) {
    const int64_t y = window / across * 2 + c / 2;
    return table[y * width + window % across * 2 + c % 2];
  };
  for_each((maps.windows() + 31) / 32, [&](int64_t word) {
    uint32_t bits = 0;
    for (int bit = 0; bit < 32 && word * 32 + bit < maps.windows(); ++bit) {
      bool any = false;
      for (int c = 0; c < 4; ++c) any = any || corner(word * 32 + bit, c) >= 0;
      bits |= static_cast<uint32_t>(any) << bit;
    }
    active[word] = bits;
  });
  sync();
  for_each(maps.windows(), [&](int64_t window) {
    const uint32_t bits = active[window / 32];
    if ((bits >> (window % 32) & 1) == 0) return;
    int64_t out = p.out_offsets[frame] + ones(bits & ((1u << (window % 32)) - 1));
    for (int64_t word = 0; word < window / 32; ++word) out += ones(active[word]);
    if (out >= p.out_rows) return;
    for (int c = 0; c < 4; ++c) p.windows[out * 4 + c] = corner(window, c);
    p.out_sites[out] = static_cast<int32_t>(window);
  });
  sync();
}

// What no frame writes; block `part` of `parts`.
MESM_BLOCK void place_padding(const Places& p, int64_t part, int64_t parts) {
  const int64_t number = p.kept_offsets[p.maps.frames];
  const int64_t out_number = p.out_offsets[p.maps.frames];
  const auto fill = [&](int64_t begin, int64_t end, int32_t* to, int32_t value) {
    for_each((end - begin + parts - 1) / parts, [&](int64_t i) {
      const int64_t at = begin + i * parts + part;
      if (at < end) to[at] = value;
    });
  };
  if (number < p.maps.rows) fill(number, p.maps.rows, p.rows, -1);
  if (out_number < p.out_rows) fill(out_number, p.out_rows, p.out_sites, 0);
}

constexpr int kPlanRows = 512;  // sorted together; more leave out more taps, but share less of L1

struct Plan {
  const int32_t* neighbours;
  const int32_t* number;  // of kept rows
  int64_t capacity;       // most kept rows
  int32_t* order;         // (plans * kPlanRows,): the kept row of each slot, -1: none
  uint32_t* taps;         // (plans * kPlanRows / kSubtile,): bit o: a row of the sixteen has tap o

  static constexpr int kBytes = 2 * kPlanRows * 4;
};

MESM_BLOCK int64_t kept_rows(const int32_t* number, int64_t capacity) {
  return *number < capacity ? *number : capacity;
}

// Near each other are taps that differ in one neighbour: place in the Gray code, corners first.
MESM_BLOCK uint32_t place_of_taps(uint32_t taps) {
  const auto bit = [&](int tap, int to) { return (taps >> tap & 1) << to; };
  uint32_t code = bit(0, 8) | bit(2, 7) | bit(6, 6) | bit(8, 5) | bit(1, 4) | bit(3, 3) |
                  bit(5, 2) | bit(7, 1) | bit(4, 0);
  code ^= code >> 1;
  code ^= code >> 2;
  code ^= code >> 4;
  return code ^ code >> 8;
}

// Sorts kPlanRows rows by which neighbours they have, so that sixteen side by side lack the same.
MESM_BLOCK void plan_rows(const Plan& p, int64_t tile, void* shared) {
  const int64_t number = kept_rows(p.number, p.capacity);
  uint32_t* keys = static_cast<uint32_t*>(shared);
  uint32_t* sorted = keys + kPlanRows;
  for_each(kPlanRows, [&](int64_t i) {
    const int64_t row = tile * kPlanRows + i;
    uint32_t taps = 0;
    for (int tap = 0; row < number && tap < kTaps; ++tap) {
      taps |= static_cast<uint32_t>(p.neighbours[row * kTaps + tap] >= 0) << tap;
    }
    // The row's number makes keys different; rows there are not come last.
    const uint32_t place = row < number ? place_of_taps(taps) : 1u << kTaps;
    keys[i] = (place * kPlanRows + static_cast<uint32_t>(i)) << kTaps | taps;
  });
  sync();
  for_each(kPlanRows, [&](int64_t i) {
    const uint32_t key = keys[i];
    int rank = 0;
    for (int j = 0; j < kPlanRows; ++j) rank += keys[j] < key;
    const bool there = tile * kPlanRows + i < number;
    p.order[tile * kPlanRows + rank] = there ? static_cast<int32_t>(tile * kPlanRows + i) : -1;
    sorted[rank] = key & ((1u << kTaps) - 1);
  });
  sync();
  for_each(kPlanRows / kSubtile, [&](int64_t i) {
    uint32_t taps = 0;
    for (int j = 0; j < kSubtile; ++j) taps |= sorted[i * kSubtile + j];
    p.taps[tile * (kPlanRows / kSubtile) + i] = taps;
  });
  sync();
}

}  // namespace mesm_ops
