// The neighbours of a frame's rows, by one block: the table that convolutions read, and what rows
// of like neighbours are found by. mesm_ops/triton/neighbours.py has the same for sites that no
// selection has just made, and says what patterns, ranks and counts are for.
#pragma once

#include "rows.cuh"

namespace mesm_ops {

constexpr int kOffsets = 9;
constexpr int kChunk = 512;  // rows of a frame that are ranked together
constexpr int kPatterns = 1 << kOffsets;
constexpr int kColumns = kPatterns + 16;  // of a chunk's counts: its patterns, then the offsets
constexpr int kMostSites = 4096;          // of a frame, in shared memory

struct Neighbours {
  int32_t* table;   // (rows, kOffsets): the row at the neighbouring site, -1 if there is none
  int32_t* ranks;   // (rows,): pattern * kChunk + rows of that pattern before, in the chunk
  int32_t* counts;  // (frames * chunks, kColumns): rows of each pattern, rows with each neighbour
  int32_t height, width;

  MESM_BLOCK int32_t area() const { return height * width; }  // at most kMostSites
  MESM_BLOCK int32_t chunks() const { return area() > kChunk ? (area() + kChunk - 1) / kChunk : 1; }
};

struct NeighboursShared {
  static constexpr uint16_t kNobody = 0xffff;
  uint16_t at[kMostSites];  // the row at a site
  uint16_t patterns[kMostSites];
};

// Where a set of neighbours stands in a Gray code whose first bits are the corners, then the sides:
// sets side by side differ in one.
MESM_BLOCK uint32_t place_in_gray_code(uint32_t known) {
  constexpr uint64_t kBits = 0x516203748;  // four for each offset: its bit in the code
  uint32_t code = 0;
  for (int o = 0; o < kOffsets; ++o) code |= (known >> o & 1) << (kBits >> (4 * o) & 15);
  code ^= code >> 1;
  code ^= code >> 2;
  code ^= code >> 4;
  return code ^ code >> 8;
}

// Of the frame's rows [before, before + number), which lie at site_of(0), site_of(1), ...
template <class SiteOf>
MESM_BLOCK void find_neighbours(const Neighbours& to, int64_t frame, int64_t before, int32_t number,
                                const SiteOf& site_of, NeighboursShared& shared,
                                Exchange& exchange) {
  const int32_t area = to.area(), width = to.width;
  number = number < area ? number : area;  // more there are only where sites are senseless
  for_each(area, [&](int64_t site) { shared.at[site] = NeighboursShared::kNobody; });
  sync();
  for_each(number, [&](int64_t i) {
    const int32_t site = site_of(static_cast<int32_t>(i));
    if (site >= 0 && site < area) shared.at[site] = static_cast<uint16_t>(i);
  });
  sync();
  const auto neighbour = [&](int32_t site, int32_t o) -> int32_t {
    const int32_t y = site / width + o / 3 - 1;
    const int32_t x = site % width + o % 3 - 1;
    const bool inside = site >= 0 && site < area && y >= 0 && y < to.height && x >= 0 && x < width;
    return inside ? shared.at[y * width + x] : NeighboursShared::kNobody;
  };
  for_each(int64_t{number} * kOffsets, [&](int64_t wide) {
    const int32_t i = static_cast<int32_t>(wide);  // its division is the faster one
    const int32_t there = neighbour(site_of(i / kOffsets), i % kOffsets);
    to.table[before * kOffsets + i] =
        there == NeighboursShared::kNobody ? -1 : static_cast<int32_t>(before) + there;
  });
  for_each(number, [&](int64_t i) {
    const int32_t site = site_of(static_cast<int32_t>(i));
    uint32_t known = 0;
    for (int o = 0; o < kOffsets; ++o) {
      known |= static_cast<uint32_t>(neighbour(site, o) != NeighboursShared::kNobody) << o;
    }
    shared.patterns[i] = static_cast<uint16_t>(known);
  });
  for_each(int64_t{to.chunks()} * kColumns,
           [&](int64_t i) { to.counts[frame * to.chunks() * kColumns + i] = 0; });
  sync();
  for (int32_t chunk = 0; chunk < to.chunks(); ++chunk) {
    const int32_t begin = chunk * kChunk < number ? chunk * kChunk : number;
    const int32_t count = number - begin < kChunk ? number - begin : kChunk;
    int32_t* counts = to.counts + (frame * to.chunks() + chunk) * kColumns;
    const uint16_t* patterns = shared.patterns + begin;
    for_each(count, [&](int64_t i) {
      const uint16_t mine = patterns[i];
      int32_t earlier = 0;
      bool later = false;
      for (int32_t other = 0; other < count; ++other) {
        const bool alike = patterns[other] == mine;
        earlier += alike && other < i;
        later = later || (alike && other > i);
      }
      const int32_t place = static_cast<int32_t>(place_in_gray_code(mine));
      to.ranks[before + begin + i] = place * kChunk + earlier;
      if (!later) counts[place] = earlier + 1;  // the last of its pattern knows how many there are
    });
    for (int o = 0; o < kOffsets; ++o) {
      const auto has = [&](int32_t i) { return (patterns[i] >> o & 1) != 0; };
      const Count with = count_where(count, has, exchange);
      if (thread() == 0) counts[kPatterns + o] = with.number;
    }
  }
}

}  // namespace mesm_ops
