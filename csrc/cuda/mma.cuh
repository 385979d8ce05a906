// One step of the tensor cores, m16n8k16 with float32 sums, and what feeds it; the same code runs
// on the host, where one thread plays all 32 lanes of a warp, each with its own registers.
//
// Operands lie in shared memory as rows of 32 elements (64 bytes, four pieces), both A (rows of the
// result) and B (columns of the result). Where a piece lies in its row depends on the row: so the
// eight rows that are read at once lie in all 32 banks, with no padding.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include "block.cuh"

namespace mesm_ops {

constexpr int kWarpWidth = 32;
constexpr int kDepth = 32;  // elements of a row in shared memory
constexpr int kPiece = 8;   // elements that are copied, or read as a row of a matrix, at once

#ifdef __CUDACC__
#define MESM_UNROLL _Pragma("unroll")
constexpr int kLanesHere = 1;  // lanes that this thread plays
#else
#define MESM_UNROLL
constexpr int kLanesHere = kWarpWidth;
#endif

// A register of every lane.
template <class T>
struct Lanes {
  T here[kLanesHere];
  MESM_BLOCK T& operator()(int lane) { return here[kLanesHere == 1 ? 0 : lane]; }
  MESM_BLOCK const T& operator()(int lane) const { return here[kLanesHere == 1 ? 0 : lane]; }
};

// f(lane) for every lane of the warp.
template <class F>
MESM_BLOCK void for_lanes(const F& f) {
#ifdef __CUDA_ARCH__
  f(static_cast<int>(threadIdx.x % kWarpWidth));
#else
  for (int lane = 0; lane < kWarpWidth; ++lane) f(lane);
#endif
}

// What every warp of a block keeps in its registers.
template <class T, int kWarps>
struct Warps {
#ifdef __CUDACC__
  T here;
  MESM_BLOCK T& operator()(int) { return here; }
#else
  T here[kWarps];
  T& operator()(int warp) { return here[warp]; }
#endif
};

// f(warp) for every warp of the block. On the host a thread plays as many warps as it takes.
template <int kWarps, class F>
MESM_BLOCK void for_warps(const F& f) {
#ifdef __CUDA_ARCH__
  f(static_cast<int>(threadIdx.x / kWarpWidth));
#else
  for (int warp = thread(); warp < kWarps; warp += threads()) f(warp);
#endif
}

// Keeps a value in its register: the compiler would rather work it out again in every turn of a
// loop.
MESM_BLOCK void keep(int& value) {
#ifdef __CUDA_ARCH__
  asm volatile("" : "+r"(value));
#else
  (void)value;
#endif
}

// The two types of elements, stored as their bits.
struct Bfloat16 {
  static constexpr bool kBfloat16 = true;
  static MESM_BLOCK float widen(uint16_t bits) {
    const uint32_t word = static_cast<uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &word, sizeof(value));
    return value;
  }
  static MESM_BLOCK uint16_t narrow(float value) {
#ifdef __CUDACC__
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    uint32_t word;
    memcpy(&word, &value, sizeof(word));
    if (value != value) return static_cast<uint16_t>((word >> 16) | 64);
    return static_cast<uint16_t>((word + 0x7fff + ((word >> 16) & 1)) >> 16);
#endif
  }
};

struct Float16 {
  static constexpr bool kBfloat16 = false;
#ifdef __CUDACC__
  static MESM_BLOCK float widen(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
  static MESM_BLOCK uint16_t narrow(float value) {
    return __half_as_ushort(__float2half_rn(value));
  }
#else
  static float widen(uint16_t bits) {
    _Float16 half;
    memcpy(&half, &bits, sizeof(half));
    return static_cast<float>(half);
  }
  static uint16_t narrow(float value) {
    const _Float16 half = static_cast<_Float16>(value);
    uint16_t bits;
    memcpy(&bits, &half, sizeof(bits));
    return bits;
  }
#endif
};

struct alignas(16) Piece {
  uint32_t words[4];  // two elements each
};

// Four registers of a lane, of four matrices of 8 x 8 elements: of each, two elements of a row.
struct Quad {
  uint32_t of[4];
};

// sums[0], sums[1]: row lane / 4, columns 2 * (lane % 4) and the next; sums[2], sums[3]: row + 8.
struct Sums {
  float at[4];
};

// Where piece t of a row begins.
MESM_BLOCK int piece_at(int row, int t) { return row * kDepth + (t ^ (row / 2 % 4)) * kPiece; }

// Four matrices, of which lane i names row i % 8 of matrix i / 8: at `base + offset(i)`.
MESM_BLOCK void load_matrices(Lanes<Quad>& to, const uint16_t* base, const Lanes<int>& offset) {
#ifdef __CUDA_ARCH__
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(base + offset.here[0]));
  uint32_t* r = to.here[0].of;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
#else
  for (int lane = 0; lane < kWarpWidth; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const uint16_t* row = base + offset(8 * matrix + lane / 4);
      memcpy(&to(lane).of[matrix], row + lane % 4 * 2, sizeof(uint32_t));
    }
  }
#endif
}

// What a lane names for 16 rows of A, k from 16 * half on; and for 8 rows of B, all 32 of k.
MESM_BLOCK int offset_of_a(int lane, int half) { return piece_at(lane % 16, 2 * half + lane / 16); }
MESM_BLOCK int offset_of_b(int lane) { return piece_at(lane % 8, lane / 8); }

// sums += A B^T over 16 of k: A of offset_of_a, B one half of offset_of_b's.
template <class E>
MESM_BLOCK void mma(Lanes<Sums>& sums, const Lanes<Quad>& a, const Lanes<Quad>& b, int half) {
#ifdef __CUDA_ARCH__
  float* c = sums.here[0].at;
  const uint32_t* r = a.here[0].of;
  const uint32_t b0 = b.here[0].of[2 * half], b1 = b.here[0].of[2 * half + 1];
  if constexpr (E::kBfloat16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(b0), "r"(b1));
  }
#else
  // The instruction as the PTX manual lays it out: the registers of all lanes become matrices.
  float a_matrix[16][16], b_matrix[16][8];
  const auto element = [](uint32_t word, int i) {
    return E::widen(static_cast<uint16_t>(word >> (16 * i)));
  };
  for (int lane = 0; lane < kWarpWidth; ++lane) {
    const int group = lane / 4;
    for (int i = 0; i < 2; ++i) {
      const int k = 2 * (lane % 4) + i;
      a_matrix[group][k] = element(a(lane).of[0], i);
      a_matrix[group + 8][k] = element(a(lane).of[1], i);
      a_matrix[group][k + 8] = element(a(lane).of[2], i);
      a_matrix[group + 8][k + 8] = element(a(lane).of[3], i);
      b_matrix[k][group] = element(b(lane).of[2 * half], i);
      b_matrix[k + 8][group] = element(b(lane).of[2 * half + 1], i);
    }
  }
  for (int lane = 0; lane < kWarpWidth; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8;
      const int column = 2 * (lane % 4) + i % 2;
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a_matrix[row][k] * b_matrix[k][column];
      sums(lane).at[i] += sum;
    }
  }
#endif
}

// Piece `number` of `from` to shared memory, zeros if it is not `there`; done when `wait_copies`
// says so. kAgain: the block will read it again, so it is cached in L1.
template <bool kAgain>
MESM_BLOCK void copy_piece(uint16_t* to, const uint16_t* from, int number, bool there) {
#ifdef __CUDA_ARCH__
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  const uint16_t* piece = from + static_cast<int64_t>(number) * kPiece;
  if constexpr (kAgain) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(piece),
                 "r"(there ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(piece),
                 "r"(there ? 16 : 0)
                 : "memory");
  }
#else
  if (there) {
    memcpy(to, from + static_cast<int64_t>(number) * kPiece, 16);
  } else {
    memset(to, 0, 16);
  }
#endif
}

MESM_BLOCK void commit_copies() {
#ifdef __CUDA_ARCH__
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most kLeft of this thread's committed groups are under way.
template <int kLeft>
MESM_BLOCK void wait_copies() {
#ifdef __CUDA_ARCH__
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}

}  // namespace mesm_ops
