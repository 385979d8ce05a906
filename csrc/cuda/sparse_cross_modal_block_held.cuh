// A product on tensor cores of rows that stay in shared memory, gathered through a table for each
// tap, times weights that are streamed, kStages deep.
//
// A row is a multiple of 8 pieces, and piece t of it lies at t ^ key. Its key is that of its site,
// (x + 3 y) % 8, so a step to a neighbour changes all keys by the same: eight rows of a tile with
// eight keys have neighbours with eight keys at every tap, and what is read of them at once lies in
// all 32 banks. A neighbour that is not there is a row of zeros, read with the key it would have.
// Keys are not equally many, so some eights have one twice: on the benchmark's masks that makes 1.1
// to 1.2 wavefronts of one. (Sixteens sorted by taps alone would leave out more taps, 7.9 of 9 and
// not 8.6, and take 2.1 wavefronts.)
#pragma once

#include "sparse_cross_modal_block_places.cuh"

namespace mesm_ops {

constexpr int kKeys = 8;
constexpr int kStepDepth = 2 * kDepth;  // elements of k between two barriers

// A held row and its key.
MESM_BLOCK uint16_t held_word(int row, int key) { return static_cast<uint16_t>(row * kKeys + key); }

// Where piece t of the row begins.
MESM_BLOCK int held_at(int word, int pieces, int t) {
  return (word / kKeys * pieces + (t ^ (word % kKeys))) * kPiece;
}

struct HeldProduct {
  const uint16_t* a;  // the held rows
  const uint16_t* b;  // (kTaps, columns, depth)
  int depth;          // a multiple of kStepDepth
  int columns;        // at most the tile's
};

// kRowWarps warps of 80 rows below each other, kColumnWarps of 64 columns side by side: all rows of
// a group and all columns, so that a weight is read once for the group.
template <class E_, int kRowWarps_, int kColumnWarps_, int kStages_>
struct HeldTile {
  using E = E_;
  using Columns = Tile<E, 1, 8, kTaps>;
  static constexpr int kRowWarps = kRowWarps_;
  static constexpr int kColumnWarps = kColumnWarps_;
  static constexpr int kStages = kStages_;
  static constexpr int kSubtilesOfWarp = 5;
  static constexpr int kEighths = 8;
  static constexpr int kWarps = kRowWarps * kColumnWarps;
  static constexpr int kThreads = kWarps * kWarpWidth;
  static constexpr int kRows = kRowWarps * kSubtilesOfWarp * kSubtile;
  static constexpr int kColumns = kColumnWarps * kEighths * 8;
  static constexpr int kStageElements = kColumns * kStepDepth;
  static constexpr int kStagesBytes = kStages * kStageElements * 2;

  struct Memory {
    uint16_t* stages;
    const uint16_t* words;  // [kTaps][slots], the held row of a slot's neighbour
    const uint32_t* taps;   // [slots / kSubtile], bit o: some row of the sixteen is there at tap o
    int slots;
  };

  struct Registers {
    Lanes<Sums> sums[kSubtilesOfWarp][kEighths];
    uint32_t taps[2];  // of three subtiles each, kTaps bits side by side
    Lanes<int> b;      // what lanes read in a stage
  };
  using Block = Warps<Registers, kWarps>;

  static MESM_BLOCK bool has(const Registers& own, int i, int tap) {
    return own.taps[i / 3] >> (i % 3 * kTaps + tap) & 1;
  }

  // A step of the product; taps that no row has are left out.
  struct Step {
    uint32_t taps;
    int depth, tap = -1, k = 0, stage = 0;

    MESM_BLOCK Step(uint32_t taps, int depth) : taps(taps), depth(depth) { next_tap(); }
    MESM_BLOCK void next_tap() {
      while (++tap < kTaps && (taps >> tap & 1) == 0) {
      }
    }
    MESM_BLOCK void next() {
      stage = stage + 1 == kStages ? 0 : stage + 1;
      k += kStepDepth;
      if (k < depth) return;
      k = 0;
      next_tap();
    }
  };

  // The subtiles of a warp are spread over the tile: neighbours have like taps.
  static MESM_BLOCK int subtile(int warp, int i) { return warp / kColumnWarps + kRowWarps * i; }

  static MESM_BLOCK void stage(const HeldProduct& p, const Memory& memory, const Step& step) {
    // Eight threads a column, kSide columns at a time.
    constexpr int kPieces = kStepDepth / kPiece, kSide = kThreads / kPieces;
    static_assert(kSide == 32 && kColumns % kSide == 0);
    const int pieces = p.depth / kPiece;
    const auto copy = [&](int part) {
      const int row = part / kPieces, t = part % kPieces;
      uint16_t* to = memory.stages + step.stage * kStageElements + t / 4 * (kColumns * kDepth) +
                     piece_at(row, t % 4);
      int n = Columns::column(row);
      int from = (step.tap * p.columns + n) * pieces + step.k / kPiece + t;
      MESM_UNROLL
      for (int i = 0; i < kColumns / kSide; ++i) {
        copy_piece<false>(to + i * kSide * kDepth, p.b, from, n < p.columns);
        from += kSide * pieces;
        n += kSide;
      }
    };
#ifdef __CUDA_ARCH__
    copy(static_cast<int>(threadIdx.x));
#else
    for (int part = thread(); part < kThreads; part += threads()) copy(part);
#endif
  }

  static MESM_BLOCK void multiply(const HeldProduct& p, const Memory& memory, const Step& step,
                                  int warp, Registers& own) {
    const uint16_t* a = p.a + step.k;
    const uint16_t* b =
        memory.stages + step.stage * kStageElements + warp % kColumnWarps * (kEighths * 8 * kDepth);
    const uint16_t* words = memory.words + step.tap * memory.slots;
    Lanes<int> at[kSubtilesOfWarp];
    MESM_UNROLL
    for (int i = 0; i < kSubtilesOfWarp; ++i) {
      if (!has(own, i, step.tap)) continue;
      for_lanes([&](int lane) {
        const int word = words[subtile(warp, i) * kSubtile + lane % kSubtile];
        at[i](lane) = held_at(word, p.depth / kPiece, lane / kSubtile);
      });
    }
    MESM_UNROLL
    for (int quarter = 0; quarter < 4; ++quarter) {  // 16 of k, two pieces
      Lanes<Quad> right[kEighths / 2];
      Lanes<int> here;
      for_lanes([&](int lane) { here(lane) = own.b(lane) ^ quarter % 2 * 2 * kPiece; });
      MESM_UNROLL
      for (int j = 0; j < kEighths / 2; ++j) {
        load_matrices(right[j], b + quarter / 2 * (kColumns * kDepth) + j * 16 * kDepth, here);
      }
      MESM_UNROLL
      for (int i = 0; i < kSubtilesOfWarp; ++i) {
        if (!has(own, i, step.tap)) continue;
        Lanes<Quad> left;
        for_lanes([&](int lane) { here(lane) = at[i](lane) ^ quarter * 2 * kPiece; });
        load_matrices(left, a, here);
        MESM_UNROLL
        for (int j = 0; j < kEighths; ++j) mma<E>(own.sums[i][j], left, right[j / 2], j % 2);
      }
    }
  }

  // What a lane names for 16 rows of B, k from 0 to 15.
  static MESM_BLOCK int offset_of_pair(int lane) {
    return piece_at(lane / 16 * 8 + lane % 8, lane / 8 % 2);
  }

  // All of the product. Tables and held rows must be written and synced; on return all threads are
  // done with shared memory.
  static MESM_BLOCK void run(const HeldProduct& p, const Memory& memory, Block& block) {
    for_warps<kWarps>([&](int warp) {
      Registers& own = block(warp);
      for_lanes([&](int lane) {
        own.b(lane) = offset_of_pair(lane);
        keep(own.b(lane));
      });
      MESM_UNROLL
      for (int i = 0; i < kSubtilesOfWarp; ++i) {
        const int at = subtile(warp, i);
        const uint32_t there = at < memory.slots / kSubtile ? memory.taps[at] : 0;
        own.taps[i / 3] = (i % 3 == 0 ? 0 : own.taps[i / 3]) | there << (i % 3 * kTaps);
        MESM_UNROLL
        for (int j = 0; j < kEighths; ++j) {
          for_lanes([&](int lane) { own.sums[i][j](lane) = Sums{}; });
        }
      }
    });
    uint32_t taps = 0;
    for (int i = 0; i < memory.slots / kSubtile; ++i) taps |= memory.taps[i];
    const int count = p.depth / kStepDepth * static_cast<int>(ones(taps));
    int left_to_copy = count;
    Step copied(taps, p.depth), multiplied(taps, p.depth);
    const auto copy_next = [&] {
      if (left_to_copy > 0) stage(p, memory, copied);
      commit_copies();
      copied.next();
      --left_to_copy;
    };
    for (int i = 0; i < kStages - 1; ++i) copy_next();
    MESM_ROLLED
    for (int i = 0; i < count; ++i) {
      wait_copies<kStages - 2>();
      sync();  // the step's copies of all threads are there, and its predecessor's stage is free
      copy_next();
      for_warps<kWarps>([&](int warp) { multiply(p, memory, multiplied, warp, block(warp)); });
      multiplied.next();
    }
    wait_copies<0>();
    sync();
  }

  // f(slot, column, sums of 8 columns).
  template <class F>
  static MESM_BLOCK void each(const Memory& memory, Block& block, const F& f) {
    for_warps<kWarps>([&](int warp) {
      Registers& own = block(warp);
      MESM_UNROLL
      for (int i = 0; i < kSubtilesOfWarp; ++i) {
        if (subtile(warp, i) * kSubtile >= memory.slots) continue;
        MESM_UNROLL
        for (int below = 0; below < 2; ++below) {
          MESM_UNROLL
          for (int j = 0; j < kEighths; j += 4) {
            for_lanes([&](int lane) {
              float sums[kPiece];
              MESM_UNROLL
              for (int e = 0; e < kPiece; ++e) {
                sums[e] = own.sums[i][j + e / 2](lane).at[2 * below + e % 2];
              }
              const int slot = subtile(warp, i) * kSubtile + lane / 4 + 8 * below;
              const int column = (warp % kColumnWarps * kEighths + j) * 8 + lane % 4 * 8;
              f(slot, column, sums);
            });
          }
        }
      }
    });
  }
};

}  // namespace mesm_ops
