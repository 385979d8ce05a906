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

struct Product {
  const uint16_t* a;  // element k of row r at r * a_stride + k
  const uint16_t* b;  // element k of column n at tap o at o * b_tap + n * b_stride + k
  int64_t a_stride, b_stride, b_tap;
  int depth;    // k; a multiple of kPiece
  int columns;  // n
};

constexpr int kSubtile = 16;      // rows of one mma
constexpr int kWarpSubtiles = 4;  // of a warp
constexpr int kWarpColumns = 2;   // warps side by side
constexpr int kStages = 4;

// kRowWarps warps of 64 rows below each other, kWarpColumns of 8 * kEighths columns side by side.
template <class E_, int kRowWarps_, int kEighths_, int kTaps_>
struct Tile {
  using E = E_;
  static constexpr int kRowWarps = kRowWarps_;
  static constexpr int kEighths = kEighths_;
  static constexpr int kTaps = kTaps_;
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

  struct Memory {
    uint16_t* stages;
    int32_t* rows;   // [kTaps][kRows], -1: none
    uint32_t* taps;  // [kSubtiles], bit o: some row of the sixteen is there at tap o
  };

  struct Registers {
    Lanes<Sums> sums[kWarpSubtiles][kEighths];
    uint32_t taps[kWarpSubtiles];
  };
  using Block = Warps<Registers, kWarps>;

  static MESM_BLOCK Memory memory(void* shared) {
    char* at = static_cast<char*>(shared);
    return {reinterpret_cast<uint16_t*>(at), reinterpret_cast<int32_t*>(at + kStagesBytes),
            reinterpret_cast<uint32_t*>(at + kStagesBytes + kRowsBytes)};
  }

  // The subtiles of a warp are spread over the tile: neighbours have like taps.
  static MESM_BLOCK int subtile(int warp, int i) { return warp / kWarpColumns + kRowWarps * i; }

  // Which of the tile's columns the row lane / 4 of the warp's j-th group of B's rows is. So the
  // sums that a lane holds of four groups are of 8 columns side by side.
  static MESM_BLOCK int column(int warp, int j, int group) {
    return warp % kWarpColumns * (8 * kEighths) + j / 4 * 32 + group / 2 * 8 + j % 4 * 2 +
           group % 2;
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

  static MESM_BLOCK int steps(const Product& p) { return (p.depth + kDepth - 1) / kDepth * kTaps; }

  static MESM_BLOCK void stage(const Product& p, int first_column, const Memory& memory, int step) {
    uint16_t* a = memory.stages + step % kStages * kStageElements;
    uint16_t* b = a + kRows * kDepth;
    const int tap = step % kTaps;
    const int first = step / kTaps * kDepth;
    const uint16_t* weights = p.b + tap * p.b_tap;
    spread<kColumns * kDepth / kPiece>([&](int i) {
      const int n = first_column + i / 4;
      const int k = first + i % 4 * kPiece;
      const bool there = n < p.columns && k < p.depth;
      copy_piece<false>(b + i * kPiece, there ? weights + n * p.b_stride + k : p.b, there);
    });
    spread<kRows * kDepth / kPiece>([&](int i) {
      if (kTaps > 1 && (memory.taps[i / (4 * kSubtile)] >> tap & 1) == 0) return;
      const int row = memory.rows[tap * kRows + i / 4];
      const int k = first + i % 4 * kPiece;
      const bool there = row >= 0 && k < p.depth;
      copy_piece<(kTaps > 1)>(a + i * kPiece, there ? p.a + row * p.a_stride + k : p.a, there);
    });
  }

  static MESM_BLOCK void multiply(const Memory& memory, int step, int warp, Registers& own) {
    const uint16_t* a = memory.stages + step % kStages * kStageElements;
    const uint16_t* b = a + kRows * kDepth;
    Lanes<Piece> right[kEighths];
    MESM_UNROLL
    for (int j = 0; j < kEighths; ++j) {
      for_lanes([&](int lane) { right[j](lane) = load_piece(b, column(warp, j, lane / 4), lane); });
    }
    MESM_UNROLL
    for (int i = 0; i < kWarpSubtiles; ++i) {
      if (kTaps > 1 && (own.taps[i] >> (step % kTaps) & 1) == 0) continue;
      Lanes<Piece> upper, lower;
      for_lanes([&](int lane) {
        const int row = subtile(warp, i) * kSubtile + lane / 4;
        upper(lane) = load_piece(a, row, lane);
        lower(lane) = load_piece(a, row + 8, lane);
      });
      MESM_UNROLL
      for (int half = 0; half < 2; ++half) {
        MESM_UNROLL
        for (int j = 0; j < kEighths; ++j) mma<E>(own.sums[i][j], upper, lower, right[j], half);
      }
    }
  }

  // All of the product for the rows of the tables and kColumns columns. The tables must be written
  // and synced; on return all threads are done with shared memory.
  static MESM_BLOCK void run(const Product& p, int first_column, const Memory& memory,
                             Block& block) {
    for_warps<kWarps>([&](int warp) {
      Registers& own = block(warp);
      MESM_UNROLL
      for (int i = 0; i < kWarpSubtiles; ++i) {
        own.taps[i] = kTaps > 1 ? memory.taps[subtile(warp, i)] : 1;
        MESM_UNROLL
        for (int j = 0; j < kEighths; ++j) {
          for_lanes([&](int lane) { own.sums[i][j](lane) = Sums{}; });
        }
      }
    });
    const int count = steps(p);
    for (int step = 0; step < kStages - 1; ++step) {
      if (step < count) stage(p, first_column, memory, step);
      commit_copies();
    }
    for (int step = 0; step < count; ++step) {
      wait_copies<kStages - 2>();
      sync();  // the step's copies of all threads are there, and its predecessor's stage is free
      if (step + kStages - 1 < count) stage(p, first_column, memory, step + kStages - 1);
      commit_copies();
      for_warps<kWarps>([&](int warp) { multiply(memory, step, warp, block(warp)); });
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
              f(row, column(warp, j, 2 * (lane % 4)), warp % kWarpColumns * 4 + lane % 4, sums);
            });
          }
        }
      }
    });
  }
};

}  // namespace mesm_ops
