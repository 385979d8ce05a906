// A tile of a product on tensor cores: rows gathered through a table, one table for each tap of a
// convolution, times weights that are streamed; both come through shared memory, kStages deep.
//
//   sums[m, n] = sum over taps o and k of a[rows[o][m], k] * b[n, o, k]
//
// Steps go through the taps inside 32 elements of k: for these the rows of a tile and of its
// neighbours stay in L1 from tap to tap. Sixteen rows of which none has a neighbour at a tap
// take no part in it.
#pragma once

#include "mma.cuh"

namespace mesm_ops {

// Strides are in pieces, and so is the offset of any piece: below 2^31.
struct Product {
  const uint16_t* a;  // rows where the tables say
  const uint16_t* b;  // column n at tap o from o * b_tap + n * b_stride on
  int b_stride, b_tap;
  int depth;    // elements of k, a multiple of kPiece
  int columns;  // n
};

// b: (taps, columns, depth).
inline Product make_product(const uint16_t* a, const uint16_t* b, int depth, int columns) {
  const int pieces = depth / kPiece;
  return {a, b, pieces, columns * pieces, depth, columns};
}

constexpr int kSubtile = 16;      // rows of one mma
constexpr int kWarpSubtiles = 4;  // of a warp
constexpr int kWarpColumns = 2;   // warps side by side

// kRowWarps warps of 64 rows below each other, kWarpColumns of 8 * kEighths columns side by side.
template <class E_, int kRowWarps_, int kEighths_, int kTaps_, int kStages_ = 4>
struct Tile {
  using E = E_;
  static constexpr int kRowWarps = kRowWarps_;
  static constexpr int kEighths = kEighths_;
  static constexpr int kTaps = kTaps_;
  static constexpr int kStages = kStages_;
  static constexpr int kWarps = kRowWarps * kWarpColumns;
  static constexpr int kThreads = kWarps * kWarpWidth;
  static constexpr int kSubtiles = kRowWarps * kWarpSubtiles;
  static constexpr int kRows = kSubtiles * kSubtile;
  static constexpr int kColumns = kWarpColumns * kEighths * 8;
  static constexpr int kStageElements = (kRows + kColumns) * kDepth;
  static constexpr int kStagesBytes = kStages * kStageElements * 2;
  static constexpr int kRowsBytes = kTaps * kRows * 4;
  static constexpr int kBytes = kStagesBytes + kRowsBytes + (kSubtiles + 3) / 4 * 16;
  static_assert(kEighths % 4 == 0);

  static constexpr int32_t kNoRow = -1;     // zeros
  static constexpr int32_t kNoneOf16 = -2;  // nor has any other row of the subtile: not read

  struct Memory {
    uint16_t* stages;
    int32_t* rows;   // [kTaps][kRows], the piece of `a` a row begins with, or one of these
    uint32_t* taps;  // [kSubtiles], bit o: some row of the sixteen is there at tap o
  };

  struct Registers {
    Lanes<Sums> sums[kWarpSubtiles][kEighths];
    uint32_t taps[kWarpSubtiles];
    Lanes<int> a[2], b;  // what lanes read in a stage
  };

  // A step of the product, and the stage that its operands lie in. Taps that no row of the tile has
  // are left out.
  struct Step {
    uint32_t taps;  // of the tile
    int tap, k = 0, stage = 0;

    explicit MESM_BLOCK Step(uint32_t taps) : taps(taps), tap(-1) { next_tap(); }
    MESM_BLOCK void next_tap() {
      do {
        if (++tap < kTaps) continue;
        tap = 0;
        k += kDepth;
      } while ((taps >> tap & 1) == 0);
    }
    MESM_BLOCK void next() {
      stage = (stage + 1) % kStages;
      next_tap();
    }
  };
  using Block = Warps<Registers, kWarps>;

  static MESM_BLOCK Memory memory(void* shared) {
    char* at = static_cast<char*>(shared);
    return {reinterpret_cast<uint16_t*>(at), reinterpret_cast<int32_t*>(at + kStagesBytes),
            reinterpret_cast<uint32_t*>(at + kStagesBytes + kRowsBytes)};
  }

  // The subtiles of a warp are spread over the tile: neighbours have like taps.
  static MESM_BLOCK int subtile(int warp, int i) { return warp / kWarpColumns + kRowWarps * i; }

  // Which of the tile's columns a row of B in shared memory is: so that the sums which a lane holds
  // of four groups of eight are of 8 columns side by side.
  static MESM_BLOCK int column(int row) {
    const int j = row / 8 % 4, group = row % 8;
    return row / 32 * 32 + group / 2 * 8 + j * 2 + group % 2;
  }

  // f(i) for i in [0, kCount), spread over the block's threads.
  template <int kCount, class F>
  static MESM_BLOCK void spread(const F& f) {
#ifdef __CUDA_ARCH__
    static_assert(kCount % kThreads == 0);
    MESM_UNROLL
    for (int i = 0; i < kCount / kThreads; ++i) f(i * kThreads + static_cast<int>(threadIdx.x));
#else
    for (int i = thread(); i < kCount; i += threads()) f(i);
#endif
  }

  static MESM_BLOCK void stage(const Product& p, int first_column, const Memory& memory,
                               const Step& step) {
    uint16_t* a = memory.stages + step.stage * kStageElements;
    uint16_t* b = a + kRows * kDepth;
    const int weights = step.tap * p.b_tap + step.k / kPiece;
    spread<kColumns * kDepth / kPiece>([&](int i) {
      const int n = first_column + column(i / 4);
      const bool there = n < p.columns && step.k + i % 4 * kPiece < p.depth;
      const int from = n * p.b_stride + i % 4 + weights;
      copy_piece<false>(b + piece_at(i / 4, i % 4), p.b, from, there);
    });
    const int32_t* rows = memory.rows + step.tap * kRows;
    spread<kRows * kDepth / kPiece>([&](int i) {
      const int row = rows[i / 4];
      if (kTaps > 1 && row == kNoneOf16) return;
      const bool there = row >= 0 && step.k + i % 4 * kPiece < p.depth;
      const int from = row + step.k / kPiece + i % 4;
      copy_piece<(kTaps > 1)>(a + piece_at(i / 4, i % 4), p.a, from, there);
    });
  }

  static MESM_BLOCK void multiply(const Memory& memory, const Step& step, int warp,
                                  Registers& own) {
    const uint16_t* a = memory.stages + step.stage * kStageElements;
    const uint16_t* b = a + kRows * kDepth + warp % kWarpColumns * (kEighths * 8 * kDepth);
    Lanes<Quad> right[kEighths];
    MESM_UNROLL
    for (int j = 0; j < kEighths; ++j) load_matrices(right[j], b + j * 8 * kDepth, own.b);
    MESM_UNROLL
    for (int i = 0; i < kWarpSubtiles; ++i) {
      if (kTaps > 1 && (own.taps[i] >> step.tap & 1) == 0) continue;
      Lanes<Quad> left[2];
      MESM_UNROLL
      for (int half = 0; half < 2; ++half) {
        load_matrices(left[half], a + subtile(warp, i) * (kSubtile * kDepth), own.a[half]);
      }
      MESM_UNROLL
      for (int half = 0; half < 2; ++half) {
        MESM_UNROLL
        for (int j = 0; j < kEighths; ++j) mma<E>(own.sums[i][j], left[half], right[j], half);
      }
    }
  }

  // All of the product for the rows of the tables and kColumns columns. The tables must be written
  // and synced; on return all threads are done with shared memory.
  static MESM_BLOCK void run(const Product& p, int first_column, const Memory& memory,
                             Block& block) {
    for_warps<kWarps>([&](int warp) {
      Registers& own = block(warp);
      for_lanes([&](int lane) {
        own.a[0](lane) = offset_of_a(lane, 0);
        own.a[1](lane) = offset_of_a(lane, 1);
        own.b(lane) = offset_of_b(lane);
        keep(own.a[0](lane));
        keep(own.a[1](lane));
        keep(own.b(lane));
      });
      MESM_UNROLL
      for (int i = 0; i < kWarpSubtiles; ++i) {
        own.taps[i] = kTaps > 1 ? memory.taps[subtile(warp, i)] : 1;
        MESM_UNROLL
        for (int j = 0; j < kEighths; ++j) {
          for_lanes([&](int lane) { own.sums[i][j](lane) = Sums{}; });
        }
      }
    });
    uint32_t taps = 0;
    for (int i = 0; i < kSubtiles; ++i) taps |= kTaps > 1 ? memory.taps[i] : 1;
    const int count = (p.depth + kDepth - 1) / kDepth * static_cast<int>(ones(taps));
    int left_to_copy = count;
    if (taps == 0) taps = 1;  // for Step to end; there are no steps
    Step copied(taps), multiplied(taps);
    const auto copy_next = [&] {
      if (left_to_copy > 0) stage(p, first_column, memory, copied);
      commit_copies();
      copied.next();
      --left_to_copy;
    };
    for (int i = 0; i < kStages - 1; ++i) copy_next();
    for (int i = 0; i < count; ++i) {
      wait_copies<kStages - 2>();
      sync();  // the step's copies of all threads are there, and its predecessor's stage is free
      copy_next();
      for_warps<kWarps>([&](int warp) { multiply(memory, multiplied, warp, block(warp)); });
      multiplied.next();
    }
    wait_copies<0>();
    sync();
  }

  // f(row of the tile, column of the tile, the lane's share 0 to 7 of a row, sums of 8 columns).
  template <class F>
  static MESM_BLOCK void each(Block& block, const F& f) {
    for_warps<kWarps>([&](int warp) {
      Registers& own = block(warp);
      MESM_UNROLL
      for (int i = 0; i < kWarpSubtiles; ++i) {
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
              const int row = subtile(warp, i) * kSubtile + lane / 4 + 8 * below;
              const int first = (warp % kWarpColumns * kEighths + j) * 8 + lane % 4 * 8;
              f(row, first, warp % kWarpColumns * 4 + lane % 4, sums);
            });
          }
        }
      }
    });
  }
};

}  // namespace mesm_ops
