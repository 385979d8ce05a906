// The block's kernels once, for the sanitizers of test_sparse_cross_modal_block.py: memory,
// arithmetic, and accesses that no `sync` orders.
#define MESM_MAIN  // a few of the tiles
#include "sparse_cross_modal_block.cpp"

namespace {

uint32_t state = 1;

float draw() {
  state = state * 1664525u + 1013904223u;
  return static_cast<float>(state >> 8) / (1 << 24) - 0.5f;
}

std::vector<uint16_t> narrow(int64_t count) {
  std::vector<uint16_t> out(count);
  for (uint16_t& bits : out) bits = Bfloat16::narrow(draw());
  return out;
}

std::vector<float> wide(int64_t count) {
  std::vector<float> out(count);
  for (float& value : out) value = draw() + 0.6f;
  return out;
}

// Maps of 5 x 5; each vector is as long as its tensor. frames: of a group, 0: a launch for each
// step.
int run_once(const std::vector<int32_t>& offsets, const std::vector<int32_t>& sites, int threads,
             int group_frames = 0, int side_by_side = 1) {
  constexpr int kSide = 5;
  const int kChannels = group_frames > 0 ? 64 : 40, kColumns = group_frames > 0 ? 64 : 72;
  const int64_t rows = sites.size(), frames = offsets.size() - 1;
  const int64_t out_rows = std::min(rows, frames * (kSide / 2) * (kSide / 2));
  const auto features = narrow(rows * kChannels), query = narrow(frames * 8);
  const auto map_weight = narrow(kColumns * kChannels), query_weight = narrow(kColumns * 8);
  const auto bias = wide(kColumns), score = wide(kColumns), norms = wide(4 * kColumns);
  const auto weight1 = narrow(9 * kColumns * kChannels), weight2 = narrow(9 * kColumns * kColumns);
  std::vector<uint16_t> out(out_rows * kColumns), x(rows * kChannels);
  std::vector<int32_t> out_sites(out_rows), out_offsets(frames + 1), kept(rows);
  std::vector<int32_t> kept_offsets(frames + 1), order((rows / kPlanRows + 1) * kPlanRows);
  std::vector<float> moments1(2 * kColumns), moments2(2 * kColumns);
  const Arguments a{features.data(),
                    sites.data(),
                    offsets.data(),
                    query.data(),
                    map_weight.data(),
                    query_weight.data(),
                    nullptr,
                    bias.data(),
                    score.data(),
                    score.data(),
                    {weight1.data(), weight2.data()},
                    {norms.data(), norms.data()},
                    out.data(),
                    x.data(),
                    out_sites.data(),
                    out_offsets.data(),
                    kept.data(),
                    kept_offsets.data(),
                    order.data(),
                    {moments1.data(), moments2.data()},
                    frames,
                    rows,
                    out_rows,
                    frames,
                    kSide,
                    kSide,
                    kChannels,
                    kColumns,
                    8,
                    kColumns,
                    kColumns,
                    0,
                    0,
                    group_frames > 0 ? 4 : 2,
                    4,
                    1,
                    threads,
                    group_frames,
                    3,
                    side_by_side,
                    0.5,
                    1e-5f};
  return run_op(&a);
}

}  // namespace

int main() {
  std::vector<int32_t> sites(75);
  for (int i = 0; i < 75; ++i) sites[i] = i % 25;
  int failed = run_once({0, 25, 25, 50, 75}, sites, 1) + run_once({0, 25, 50, 75}, sites, 4);
  failed += run_once({0}, {}, 2) + run_once({0, 0}, {}, 2);
  for (const int frames : {1, 2}) {
    failed += run_once({0, 25, 25, 50, 75}, sites, 2, frames, 2) + run_once({0}, {}, 2, frames);
    failed += run_once({0, 0}, {}, 1, frames, 2);
  }
  // Senseless offsets and sites may give anything, but lead nowhere outside.
  std::vector<int32_t> wild(75);
  for (int i = 0; i < 75; ++i) wild[i] = (i % 3 - 1) * (i % 2 ? 1 << 30 : 13) + i;
  for (const std::vector<int32_t>& offsets :
       {std::vector<int32_t>{0, 40, 20, 75}, {-5, 700, 3}, {75, 50, 25, 0}, {0, 75, 0, 75}}) {
    failed += run_once(offsets, wild, 1) + run_once(offsets, wild, 1, 2);
  }
  return failed;
}
