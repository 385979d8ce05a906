// The kernel of sparse_cross_modal_block that takes frames group by group, and its launch.
#pragma once

#include "sparse_cross_modal_block_launch.cuh"
#include "sparse_cross_modal_block_plan.cuh"

namespace mesm_ops {
namespace {

// One block an SM: as many registers a thread as there can be.
template <class T>
__global__ void __launch_bounds__(T::kThreads, 1) group_kernel(const __grid_constant__ Group g) {
  extern __shared__ __align__(128) char shared[];
  run_groups<T, GroupScores<typename T::E>>(g, shared);
}

template <class T>
void launch_groups(const Call& call, const Group& g) {
  static_assert(T::kThreads == GroupScores<typename T::E>::kThreads);
  allow(group_kernel<T>, g.layout.bytes);
  const int64_t groups = (call.frames() + g.shape.frames - 1) / g.shape.frames;
  const int64_t blocks = std::min<int64_t>(groups, call.processors);
  group_kernel<T><<<blocks_for(blocks), T::kThreads, g.layout.bytes, call.stream>>>(g);
}

// After `prepare`: what that leaves, and words for the look-back that are zero.
template <class E>
void launch_group(const Call& call, const GroupPlan& plan, uint64_t* words) {
  Group g{call.select,
          plan.shape,
          plan.layout,
          {},
          {words},
          call.pool.out_rows,
          call.pool.to,
          call.places.out_sites,
          call.places.rows,
          const_cast<int32_t*>(call.places.kept_offsets),
          const_cast<int32_t*>(call.places.out_offsets)};
  for (int i = 0; i < 2; ++i) {
    const Stage& stage = call.stages[i];
    g.stages[i] = {stage.packed, stage.scale, stage.shift};
  }
  if (plan.wide) {
    if (plan.stages == 3) return launch_groups<HeldTile<E, 2, 4, 3>>(call, g);
    return launch_groups<HeldTile<E, 2, 4, 2>>(call, g);
  }
  if (plan.stages == 3) return launch_groups<HeldTile<E, 4, 2, 3>>(call, g);
  launch_groups<HeldTile<E, 4, 2, 2>>(call, g);
}

}  // namespace
}  // namespace mesm_ops
