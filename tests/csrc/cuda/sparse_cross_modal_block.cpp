// The kernels' code of csrc/cuda/sparse_cross_modal_block*.cuh, run by host threads: each is a warp
// of one lane to what asks for threads, and plays whole warps where tensor cores are asked for.
#include <algorithm>
#include <cmath>
#include <vector>

#include "host_block.h"
#include "sparse_cross_modal_block_plan.cuh"

using namespace mesm_ops;

namespace {

// Shared memory that starts as garbage: what is not written is seen.
std::vector<uint64_t> shared_memory(int64_t bytes) {
  return std::vector<uint64_t>(bytes / 8 + 2, 0xffffffffffffffffu);
}
char* aligned(std::vector<uint64_t>& memory) {
  return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory.data()) + 15) / 16 * 16);
}

// Weights as the kernels read them, and the queries' share of the hidden values.
template <class Rows>
void prepare(int threads, const Asked& asked, Stage stages[2], char* shared) {
  for (int s = 0; s < 2; ++s) {
    for (int64_t i = 0; i < static_cast<int64_t>(stages[s].columns) * stages[s].depth; ++i) {
      pack<typename Rows::E>(stages[s], i);
    }
  }
  const int across = (asked.product.columns + Rows::kColumns - 1) / Rows::kColumns;
  const int64_t down = (asked.samples + Rows::kRows - 1) / Rows::kRows;
  run_block(threads, [&] {
    for (int64_t tile = 0; tile < across * down; ++tile) ask<Rows>(asked, tile, shared);
  });
}

// The kernel that takes frames group by group, by as many blocks at a time as are asked for.
template <class T>
void run_grouped(int threads, int side_by_side, int frames, const Maps& maps, const Asked& asked,
                 const Select& select_frame, Stage stages[2], const Places& places,
                 const Pool& pooled, int32_t* kept_offsets, int32_t* out_offsets) {
  using E = typename T::E;
  std::vector<uint64_t> memory = shared_memory(Tile<E, 2, 4, 1, 3>::kBytes);
  prepare<Tile<E, 2, 4, 1, 3>>(threads, asked, stages, aligned(memory));
  GroupShape shape{frames,
                   most_kept(select_frame.p, maps.area()),
                   0,
                   stages[0].depth,
                   stages[0].columns,
                   stages[1].columns,
                   maps.area(),
                   maps.windows()};
  shape.slots = (frames * shape.most + kSubtile - 1) / kSubtile * kSubtile;
  Group g{select_frame,
          shape,
          make_layout<T, GroupScores<E>>(shape),
          {},
          {nullptr},
          pooled.out_rows,
          pooled.to,
          places.out_sites,
          places.rows,
          kept_offsets,
          out_offsets};
  for (int s = 0; s < 2; ++s) g.stages[s] = {stages[s].packed, stages[s].scale, stages[s].shift};
  std::vector<uint64_t> words(g.groups() + 1);
  g.look_back.words = words.data();
  run_blocks(side_by_side, side_by_side, [&](int64_t) {
    std::vector<uint64_t> own = shared_memory(g.layout.bytes);
    char* shared = aligned(own);
    run_block(threads, [&] { run_groups<T, GroupScores<E>>(g, shared); });
  });
}

template <class E, int kRowWarps, int kEighths>
void run(int threads, const Maps& maps, Asked asked, Select select_frame, Stage stages[2],
         Places places, Pool pooled, int32_t* kept_offsets, int32_t* out_offsets,
         int32_t* order_out) {
  using Rows = Tile<E, kRowWarps, kEighths, 1, 3>;
  using Conv = Tile<E, kRowWarps, kEighths, kTaps>;
  std::vector<uint64_t> memory = shared_memory(std::max<int64_t>(
      {SelectMemory<Rows>::bytes(maps.area()), Conv::kBytes, Places::bytes(maps.area())}));
  char* shared = aligned(memory);
  prepare<Rows>(threads, asked, stages, shared);
  std::vector<int32_t> kept_count(maps.frames), window_count(maps.frames);
  select_frame.kept_count = kept_count.data();
  select_frame.window_count = window_count.data();
  run_block(threads, [&] {
    for (int64_t f = 0; f < maps.frames; ++f) select<Rows>(select_frame, f, shared);
  });
  int32_t parts[kParts];
  kept_offsets[0] = out_offsets[0] = 0;
  run_block(threads, [&] {
    sum_up(maps.frames, [&](int64_t f) { return kept_count[f]; }, kept_offsets + 1, parts);
    sum_up(maps.frames, [&](int64_t f) { return window_count[f]; }, out_offsets + 1, parts);
  });
  std::vector<int32_t> neighbours(maps.rows * kTaps, 1 << 30);
  places.neighbours = neighbours.data();
  run_block(threads, [&] {
    for (int64_t f = 0; f < maps.frames; ++f) place<E>(places, f, shared);
    for (int64_t part = 0; part < 3; ++part) place_padding(places, part, 3);
  });

  const int32_t* number = kept_offsets + maps.frames;
  const int64_t plans = (maps.rows + kPlanRows - 1) / kPlanRows;
  std::vector<int32_t> order(plans * kPlanRows, 1 << 30);
  std::vector<uint32_t> taps(plans * kPlanRows / kSubtile, ~0u);
  const Plan plan{neighbours.data(), number, maps.rows, order.data(), taps.data()};
  run_block(threads, [&] {
    const int64_t used = (kept_rows(number, maps.rows) + kPlanRows - 1) / kPlanRows;
    for (int64_t i = 0; i < used; ++i) plan_rows(plan, i, shared);
  });
  std::copy(order.begin(), order.end(), order_out);
  const uint16_t* from = places.x;
  std::vector<uint16_t> held[2];
  for (int s = 0; s < 2; ++s) {
    const Stage& stage = stages[s];
    held[s].assign(maps.rows * stage.columns + 8, 0xffff);
    const Product product = make_product(from, stage.packed, stage.depth, stage.columns);
    const Convolve c{product,   neighbours.data(), order.data(), taps.data(),   number,
                     maps.rows, stage.scale,       stage.shift,  held[s].data()};
    run_block(threads, [&] {
      for (int64_t tile = 0; tile < tiles<Conv>(c); ++tile) convolve<Conv>(c, tile, shared);
    });
    from = held[s].data();
  }
  pooled.from = from;
  pooled.number = out_offsets + maps.frames;
  for (int64_t i = 0; i < pooled.out_rows * pooled.columns / kPiece; ++i) pool<E>(pooled, i);
}

}  // namespace

extern "C" {

struct Arguments {
  const uint16_t* features;
  const int32_t *sites, *offsets;
  const uint16_t *query, *map_weight, *query_weight;
  const int32_t* ends;
  const float *map_bias, *score_weight, *score_bias;
  const void* weight[2];
  const float* norms[2];  // weight, bias, mean, var of each, (4, columns)
  uint16_t *out, *x;
  int32_t *out_sites, *out_offsets, *rows, *kept_offsets, *order;
  float* moments[2];  // (2, columns)
  int64_t frames, number, out_rows, samples;
  int32_t height, width, channels, hidden, query_channels, middle, columns;
  int32_t float16, wide_weights, row_warps, eighths, weighted, threads;
  int32_t group_frames, group_stages, side_by_side;  // no frames: a launch for each step
  double p;
  float eps;
};

int run_op(const Arguments* a) {
  const Maps maps{a->sites, a->offsets, a->frames, a->number, a->height, a->width};
  std::vector<float> asked_values(a->samples * a->hidden + 1, NAN), scale(a->number + 1, NAN);
  std::vector<int32_t> kept(a->number + 1, 1 << 30), windows(a->out_rows * 4 + 4, 1 << 30);
  const Asked asked{make_product(a->query, a->query_weight, a->query_channels, a->hidden),
                    a->map_bias, a->samples, asked_values.data()};
  const Select select_frame{maps,
                            make_product(a->features, a->map_weight, a->channels, a->hidden),
                            asked_values.data(),
                            a->score_weight,
                            a->score_bias,
                            a->ends,
                            a->samples,
                            a->p,
                            a->weighted != 0,
                            kept.data(),
                            scale.data(),
                            nullptr,
                            nullptr};
  Stage stages[2];
  std::vector<uint16_t> packed[2];
  std::vector<float> folded[2];
  for (int s = 0; s < 2; ++s) {
    const int columns = s == 0 ? a->middle : a->columns;
    const int depth = s == 0 ? a->channels : a->middle;
    packed[s].assign(static_cast<int64_t>(columns) * depth * kTaps, 0xffff);
    folded[s].assign(2 * columns, NAN);
    const auto norm = [&](int i) {
      return Parameter{a->norms[s] + i * columns, Parameter::kFloat};
    };
    const Parameter::Type type = a->wide_weights ? Parameter::kFloat
                                 : a->float16    ? Parameter::kFloat16
                                                 : Parameter::kBfloat16;
    stages[s] = Stage{{a->weight[s], type},
                      norm(0),
                      norm(1),
                      norm(2),
                      norm(3),
                      a->eps,
                      columns,
                      depth,
                      packed[s].data(),
                      folded[s].data(),
                      folded[s].data() + columns,
                      a->moments[s],
                      a->moments[s] + columns};
  }
  const Places places{maps,         a->features,     a->channels,    a->out_rows,      kept.data(),
                      scale.data(), a->kept_offsets, a->out_offsets, a->weighted != 0, a->rows,
                      a->x,         nullptr,         windows.data(), a->out_sites};
  const Pool pooled{nullptr, windows.data(), nullptr, a->out_rows, a->columns, a->out};
  const auto with = [&](auto run_it) {
    run_it(a->threads, maps, asked, select_frame, stages, places, pooled, a->kept_offsets,
           a->out_offsets, a->order);
    return 0;
  };
  const auto with_groups = [&](auto tile) {
    run_grouped<decltype(tile)>(a->threads, a->side_by_side, a->group_frames, maps, asked,
                                select_frame, stages, places, pooled, a->kept_offsets,
                                a->out_offsets);
    return 0;
  };
  if (a->group_frames > 0) {
    const int config = a->float16 * 100 + a->row_warps * 10 + a->group_stages;
    if (config == 43) return with_groups(HeldTile<Bfloat16, 4, 2, 3>{});
#ifndef MESM_MAIN
    if (config == 42) return with_groups(HeldTile<Bfloat16, 4, 2, 2>{});
    if (config == 23) return with_groups(HeldTile<Bfloat16, 2, 4, 3>{});
    if (config == 143) return with_groups(HeldTile<Float16, 4, 2, 3>{});
#endif
    return 1;
  }
  const int config = a->float16 * 100 + a->row_warps * 10 + a->eighths;
  if (config == 24) return with(run<Bfloat16, 2, 4>);
#ifndef MESM_MAIN
  if (config == 28) return with(run<Bfloat16, 2, 8>);
  if (config == 48) return with(run<Bfloat16, 4, 8>);
  if (config == 124) return with(run<Float16, 2, 4>);
  if (config == 128) return with(run<Float16, 2, 8>);
  if (config == 148) return with(run<Float16, 4, 8>);
#endif
  return 1;
}

// C (16, 8) = A (16, 32) B^T, B (8, 32).
void run_mma(const uint16_t* a, const uint16_t* b, int32_t float16, float* c) {
  alignas(16) uint16_t rows[16 * kDepth], columns[8 * kDepth];
  for (int i = 0; i < 16 * 4; ++i) copy_piece<true>(rows + piece_at(i / 4, i % 4), a, i, true);
  for (int i = 0; i < 8 * 4; ++i) copy_piece<true>(columns + piece_at(i / 4, i % 4), b, i, true);
  Lanes<Quad> left, right;
  Lanes<Sums> sums{};
  Lanes<int> of_a[2], of_b;
  for_lanes([&](int lane) {
    of_b(lane) = offset_of_b(lane);
    for (int half = 0; half < 2; ++half) of_a[half](lane) = offset_of_a(lane, half);
  });
  load_matrices(right, columns, of_b);
  for (int half = 0; half < 2; ++half) {
    load_matrices(left, rows, of_a[half]);
    if (float16) {
      mma<Float16>(sums, left, right, half);
    } else {
      mma<Bfloat16>(sums, left, right, half);
    }
  }
  for_lanes([&](int lane) {
    for (int i = 0; i < 4; ++i) {
      c[(lane / 4 + i / 2 * 8) * 8 + 2 * (lane % 4) + i % 2] = sums(lane).at[i];
    }
  });
}

void run_sum_up(const int32_t* values, int64_t count, int32_t* ends) {
  int32_t parts[kParts];
  sum_up(count, [&](int64_t i) { return values[i]; }, ends, parts);
}

void run_narrow(const float* values, int64_t count, int32_t float16, uint16_t* to, float* back) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = float16 ? Float16::narrow(values[i]) : Bfloat16::narrow(values[i]);
    back[i] = float16 ? Float16::widen(to[i]) : Bfloat16::widen(to[i]);
  }
}

void run_plan(const int32_t* neighbours, int32_t number, int32_t* order, uint32_t* taps) {
  std::vector<uint32_t> shared(2 * kPlanRows);
  const Plan plan{neighbours, &number, number, order, taps};
  for (int64_t i = 0; i < (number + kPlanRows - 1) / kPlanRows; ++i) {
    plan_rows(plan, i, shared.data());
  }
}

// sites: frame * area + site of each held row, with no row twice; words (kTaps, slots).
void run_slots(const uint16_t* sites, int32_t held, int32_t frames, int32_t height, int32_t width,
               int32_t slots, int32_t threads, uint16_t* order, uint16_t* words, uint32_t* taps) {
  const Maps maps{nullptr, nullptr, frames, held, height, width};
  const GroupShape shape{frames, held, slots, 64, 64, 64, maps.area(), maps.windows()};
  using T = HeldTile<Bfloat16, 4, 2, 3>;
  const GroupLayout layout = make_layout<T, GroupScores<Bfloat16>>(shape);
  std::vector<uint64_t> own = shared_memory(layout.bytes);
  const GroupMemory m(aligned(own), layout);
  std::fill(m.table, m.table + shape.sites(), GroupMemory::kNone);
  for (int32_t i = 0; i < held; ++i) {
    m.site[i] = sites[i];
    m.table[sites[i]] = 0;
  }
  run_block(threads, [&] {
    find_slots(m, maps, slots, held);
    fill_words(m, maps, slots);
  });
  std::copy(m.order, m.order + slots, order);
  std::copy(m.words, m.words + slots * kTaps, words);
  std::copy(m.taps, m.taps + slots / kSubtile, taps);
}

struct Planned {
  int32_t refusal, frames, most, slots, wide, stages;
  int64_t bytes;
};

void run_plan_group(const int64_t* sizes, double p, int32_t weighted, int64_t shared_limit,
                    int64_t processors, Planned* to) {
  const GroupPlan plan =
      plan_group<Bfloat16>({sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], p,
                            weighted != 0, shared_limit, processors});
  const GroupShape& s = plan.shape;
  *to = {static_cast<int32_t>(plan.refusal),
         s.frames,
         s.most,
         s.slots,
         plan.wide,
         plan.stages,
         plan.layout.bytes};
}

// Which column of the tile each row of B is; and which subtile each of a warp's is, (warps,
// kWarpSubtiles).
void tile_layout(int32_t* columns, int32_t* subtiles) {
  using T = Tile<Bfloat16, 4, 8, kTaps>;
  for (int row = 0; row < T::kColumns; ++row) *columns++ = T::column(row);
  for (int warp = 0; warp < T::kWarps; ++warp) {
    for (int i = 0; i < kWarpSubtiles; ++i) *subtiles++ = T::subtile(warp, i);
  }
}

// In how many ways at most the eight rows of a matrix hit one bank; 1: no conflict.
int bank_conflicts() {
  int worst = 0;
  for (int load = 0; load < 3; ++load) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      int hits[32] = {};
      for (int i = 8 * matrix; i < 8 * matrix + 8; ++i) {
        const int offset = load < 2 ? offset_of_a(i, load) : offset_of_b(i);
        for (int w = 0; w < 4; ++w) worst = std::max(worst, ++hits[(offset / 2 + w) % 32]);
      }
    }
  }
  return worst;
}

// The same of a held tile: weights, and eight rows with eight keys, wherever they are.
int held_bank_conflicts() {
  int worst = 0;
  const auto hit = [&](int offset, int* hits) {
    for (int w = 0; w < 4; ++w) worst = std::max(worst, ++hits[(offset / 2 + w) % 32]);
  };
  for (int matrix = 0; matrix < 4; ++matrix) {
    int hits[32] = {};
    for (int i = 8 * matrix; i < 8 * matrix + 8; ++i) {
      hit(HeldTile<Bfloat16, 4, 2, 3>::offset_of_pair(i), hits);
    }
  }
  for (const int pieces : {8, 16, 24, 32}) {
    for (int t = 0; t < pieces; ++t) {
      int hits[32] = {};
      for (int i = 0; i < kKeys; ++i) {
        hit(held_at(held_word(37 * i % 11, (i + 5) % kKeys), pieces, t), hits);
      }
    }
  }
  return worst;
}
}
