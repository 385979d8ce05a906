// All launches once, for the sanitizers of test_sanitized.py: memory, arithmetic, and threads that
// use shared memory without a `sync` between. Vectors are as long as the tensors are.
#include <algorithm>
#include <random>

#include "look_back.cpp"
#include "nucleus.cpp"
#include "sparse_max_pool2d.cpp"
#include "top_p_select.cpp"

namespace {

std::mt19937 source(1);

std::vector<float> draw(int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(source);
  return values;
}

void run_once(const std::vector<int32_t>& offsets, int64_t rows, int64_t channels, int warps,
              int side_by_side, bool wide) {
  const int64_t frames = offsets.size() - 1;
  const int threads = warps * mesm_ops::kLanes;
  const std::vector<float> features = draw(rows * channels);
  const std::vector<float> logits = draw(rows);
  std::vector<int32_t> sites(rows);
  for (int64_t row = 0; row < rows; ++row) sites[row] = static_cast<int32_t>(row * 7 - 20);
  std::vector<float> out(rows * channels), attention(rows), grad_features(rows * channels);
  std::vector<float> grad_logits(rows);
  std::vector<int32_t> out_sites(rows), out_offsets(frames + 1), out_rows(rows);
  std::vector<uint64_t> words(frames + 1);
  // Maps of several chunks; some sites outside, none twice.
  constexpr int32_t kHeight = 26, kWidth = 40;
  const int64_t chunks = (kHeight * kWidth + mesm_ops::kChunk - 1) / mesm_ops::kChunk;
  std::vector<int32_t> table(rows * mesm_ops::kOffsets), ranks(rows);
  std::vector<int32_t> counts(frames * chunks * mesm_ops::kColumns);
  for (const double p : {1.0, 0.5}) {
    for (int32_t* const neighbours : {static_cast<int32_t*>(nullptr), table.data()}) {
      std::fill(words.begin(), words.end(), 0);
      run_select(features.data(), sites.data(), offsets.data(), logits.data(), p, true, frames,
                 rows, channels, out.data(), out_sites.data(), out_offsets.data(), out_rows.data(),
                 attention.data(), words.data(), kHeight, kWidth, neighbours, ranks.data(),
                 counts.data(), threads, side_by_side, wide);
    }
  }
  run_backward(out.data(), features.data(), offsets.data(), out_offsets.data(), out_rows.data(),
               attention.data(), true, frames, rows, rows, channels, grad_features.data(),
               grad_logits.data(), threads, side_by_side, wide);

  // Maps of 6 x 7, one of more windows than are held, and one of none.
  for (const int32_t width : {7, 800, 1}) {
    std::vector<int32_t> placed(rows, -1);
    const int64_t number = rows > 80 ? 6 * width : rows;  // no site twice in a frame
    for (int64_t row = 0; row < std::min(rows, number); ++row) {
      placed[row] = static_cast<int32_t>(row % (6 * width));
    }
    const int64_t out_rows = std::min<int64_t>(rows, frames * 3 * (width / 2));
    std::vector<float> pooled(out_rows * channels);
    std::vector<int32_t> pooled_sites(out_rows), argmax(out_rows * channels);
    std::fill(words.begin(), words.end(), 0);
    run_pool(features.data(), placed.data(), offsets.data(), frames, rows, channels, 6, width,
             pooled.data(), pooled_sites.data(), out_offsets.data(), argmax.data(), words.data(),
             threads, side_by_side, wide);
    // What is senseless may name a row twice.
    if (offsets[0] != 0 || !std::is_sorted(offsets.begin(), offsets.end())) continue;
    run_pool_backward(pooled.data(), argmax.data(), out_rows, rows, channels, grad_features.data(),
                      threads, side_by_side, wide);
  }
}

}  // namespace

int main() {
  for (const int warps : {1, 3}) {
    for (const int side_by_side : {1, 3}) {
      run_once({0, 7, 7, 30, 31, 60}, 60, 8, warps, side_by_side, true);
      run_once({0, 7, 7, 30, 31, 60}, 71, 3, warps, side_by_side, false);
      run_once({0}, 5, 4, warps, side_by_side, true);
      run_once({0, 0, 0}, 0, 4, warps, side_by_side, true);
    }
    // Senseless offsets may give anything, but lead nowhere outside.
    for (const std::vector<int32_t>& offsets : {std::vector<int32_t>{0, 9, 2, 11},
                                                {0, -5, 700, 3},
                                                {5, 4, 3, 2},
                                                {0, 12, 0, 12},
                                                {7, 7}}) {
      run_once(offsets, 12, 4, warps, 1, true);
    }
  }
  run_once({0, mesm_ops::kHeld + 9}, mesm_ops::kHeld + 9, 16, 2, 1, true);
  const std::vector<uint64_t> own(50, 3);
  std::vector<uint64_t> words(51), sums(50);
  run_look_back(own.data(), 50, words.data(), 4, sums.data());
  return sums[49] == 49 * 3 ? 0 : 1;
}
