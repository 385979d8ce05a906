// Whether one kernel runs the block, group by group, or several launches do; and how large a group
// is. On the host alone.
#pragma once

#include "sparse_cross_modal_block_group.cuh"

namespace mesm_ops {

// Why one kernel does not; mesm_ops/ops/sparse_cross_modal_block.py says it in words.
enum class GroupRefusal : int { kNone, kHard, kDepth, kColumns, kRows, kShared };

// What a call is, and where.
struct GroupCall {
  int64_t frames, height, width, channels, middle, columns;
  double p;
  bool weighted;
  int64_t shared_limit, processors;
};

struct GroupPlan {
  GroupRefusal refusal;
  bool wide;   // HeldTile of 160 rows and 256 columns, not of 320 rows and 128
  int stages;  // of its weights
  GroupShape shape;
  GroupLayout layout;
};

// Scores: as many rows at once as there are threads.
template <class E>
using GroupScores = Tile<E, 4, 4, 1, 3>;

// Of the group sizes that fit, the one with which the last block ends first: a group takes as long
// as it has rows, and what these 100 rows stand for, kept or not. Reckoned, not measured.
template <class T>
void grow_group(const GroupCall& c, GroupPlan& plan) {
  constexpr int64_t kFixed = 100;
  int64_t best = INT64_MAX;
  for (int32_t frames = 1; frames <= kMostFrames; ++frames) {
    GroupShape shape = plan.shape;
    shape.frames = frames;
    shape.slots = (frames * shape.most + kSubtile - 1) / kSubtile * kSubtile;
    if (shape.slots > T::kRows || shape.sites() >= GroupMemory::kWhole) break;
    const GroupLayout layout = make_layout<T, GroupScores<typename T::E>>(shape);
    if (layout.bytes > c.shared_limit) break;
    const int64_t groups = (c.frames + frames - 1) / frames;
    const int64_t waves = (groups + c.processors - 1) / c.processors;
    const int64_t takes = waves * (frames * shape.most + kFixed);
    if (takes >= best) continue;
    best = takes;
    plan.refusal = GroupRefusal::kNone;
    plan.stages = T::kStages;
    plan.shape = shape;
    plan.layout = layout;
  }
}

template <class E>
GroupPlan plan_group(const GroupCall& c) {
  GroupPlan plan{};
  const auto refuse = [&](GroupRefusal why) {
    plan.refusal = why;
    return plan;
  };
  // Without weights a frame whose attention is NaN is convolved, all of it.
  if (!c.weighted) return refuse(GroupRefusal::kHard);
  if (c.channels % kStepDepth || c.middle % kStepDepth || c.columns % kStepDepth) {
    return refuse(GroupRefusal::kDepth);
  }
  using Narrow = HeldTile<E, 4, 2, 3>;
  using Wide = HeldTile<E, 2, 4, 3>;
  const int64_t columns = std::max(c.middle, c.columns);
  if (columns > Wide::kColumns) return refuse(GroupRefusal::kColumns);
  plan.wide = columns > Narrow::kColumns;
  const int64_t rows = plan.wide ? Wide::kRows : Narrow::kRows;
  const int64_t area = std::min<int64_t>(c.height * c.width, GroupMemory::kWhole);
  const int32_t most = most_kept(c.p, static_cast<int32_t>(area));
  if (most > rows || c.height * c.width >= GroupMemory::kWhole) {
    return refuse(GroupRefusal::kRows);
  }
  plan.refusal = GroupRefusal::kShared;
  plan.shape = {1,
                most,
                0,
                static_cast<int32_t>(c.channels),
                static_cast<int32_t>(c.middle),
                static_cast<int32_t>(c.columns),
                static_cast<int32_t>(area),
                static_cast<int32_t>(c.height / 2 * (c.width / 2))};
  const auto grow = [&](auto three, auto two) {
    grow_group<decltype(three)>(c, plan);
    if (plan.refusal != GroupRefusal::kNone) grow_group<decltype(two)>(c, plan);
  };
  if (plan.wide) {
    grow(Wide{}, HeldTile<E, 2, 4, 2>{});
  } else {
    grow(Narrow{}, HeldTile<E, 4, 2, 2>{});
  }
  return plan;
}

}  // namespace mesm_ops
