// All launches once, for the sanitizers of test_sanitized.py: memory, arithmetic, and threads that
// use shared memory without a `sync` between. Vectors are as long as the tensors are.
#include <algorithm>
#include <random>

#include "look_back.cpp"
#include "nucleus.cpp"
#include "place.cpp"
#include "sparse_max_pool2d.cpp"
#include "top_p_select.cpp"

namespace {

#ifdef __SANITIZE_THREAD__
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

std::mt19937 source(1);

std::vector<float> draw(int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(source);
  return values;
}

// select_and_place, and place both ways. Few frames are placed in spans of three, many as on a GPU.
void place_once(const std::vector<int32_t>& offsets, const std::vector<int32_t>& sites,
                int32_t height, int32_t width, int64_t channels, int warps, int side_by_side,
                bool wide) {
  const int64_t frames = offsets.size() - 1, rows = sites.size();
  const int32_t span_frames = frames < 40    ? 3
                              : frames < 500 ? 100
                                             : mesm_ops::span_frames_of(int64_t{height} * width);
  const int64_t tiles = (rows + mesm_ops::kTileRows - 1) / mesm_ops::kTileRows;
  const int64_t positions = tiles * mesm_ops::kTileRows;
  const int64_t out_rows = std::min<int64_t>(rows, frames * (height / 2) * (width / 2));
  const int threads = warps * mesm_ops::kLanes;
  const std::vector<float> features = draw(rows * channels), logits = draw(rows);
  std::vector<float> attention(rows), x(positions * channels);
  std::vector<int32_t> from(rows), kept_offsets(frames + 1), place(rows), masks(tiles);
  std::vector<int32_t> lists(positions * mesm_ops::kTaps), order(positions), window_of(positions);
  std::vector<int32_t> out_sites(out_rows), out_offsets(frames + 1);
  std::vector<mesm_ops::Pack<int32_t, 4>> windows(out_rows);  // for their alignment
  std::vector<int64_t> scratch((scratch_words(rows, frames, span_frames) + 1) / 2);
  int32_t* words = reinterpret_cast<int32_t*>(scratch.data());
  for (const double p : {1.0, 0.5}) {
    run_select_and_place(features.data(), sites.data(), offsets.data(), logits.data(), height,
                         width, p, true, frames, rows, channels, span_frames, attention.data(),
                         from.data(), kept_offsets.data(), place.data(), lists.data(), masks.data(),
                         x.data(), reinterpret_cast<int32_t*>(windows.data()), window_of.data(),
                         out_sites.data(), out_offsets.data(), words, threads, side_by_side, wide);
  }
  for (const bool by_position : {true, false}) {
    run_place(sites.data(), offsets.data(), height, width, by_position, frames, rows, span_frames,
              by_position ? place.data() : order.data(), lists.data(), masks.data(), words, threads,
              side_by_side);
  }
}

// Every third site is no candidate, unless `all`.
void place_frames(int64_t frames, int32_t height, int32_t width, bool all, int64_t padding,
                  int64_t channels, int warps, int side_by_side) {
  std::vector<int32_t> offsets{0}, sites;
  for (int64_t frame = 0; frame < frames; ++frame) {
    for (int32_t site = 0; site < height * width; ++site) {
      if (all || (site + frame) % 3 != 0) sites.push_back(site);
    }
    offsets.push_back(static_cast<int32_t>(sites.size()));
  }
  sites.resize(sites.size() + padding, 1 << 30);
  place_once(offsets, sites, height, width, channels, warps, side_by_side, channels % 4 == 0);
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
  std::vector<int32_t> kept(rows), numbers(frames);
  // With senseless offsets two threads may write the same row.
  const bool ascend = offsets[0] == 0 && std::is_sorted(offsets.begin(), offsets.end());
  for (const double p : {1.0, 0.5}) {
    if (!ascend && kThreadSanitizer) break;
    run_select(features.data(), sites.data(), offsets.data(), logits.data(), p, true, frames, rows,
               channels, out.data(), out_sites.data(), out_offsets.data(), out_rows.data(),
               attention.data(), kept.data(), numbers.data(), threads, side_by_side, wide);
  }
  if (ascend || !kThreadSanitizer) {
    for (const bool scales : {true, false}) {
      run_backward(out.data(), features.data(), offsets.data(), out_offsets.data(), out_rows.data(),
                   attention.data(), scales, true, frames, rows, rows, channels,
                   grad_features.data(), grad_logits.data(), threads, side_by_side, wide);
    }
  }

  // Maps of 6 x 7, one of more windows than fit into shared memory, and one of none.
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
    if (!ascend) continue;
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
      place_frames(7, 5, 7, false, 11, 4, warps, side_by_side);
      place_frames(2, 16, 4, true, 0, 3, warps, side_by_side);
      place_frames(2, 1, 40, false, 200, 4, warps, side_by_side);
      place_frames(0, 5, 7, true, 200, 4, warps, side_by_side);
      place_frames(3, 0, 7, true, 0, 4, warps, side_by_side);
    }
    place_frames(60, 2, 2, false, 0, 4, warps, 1);  // more than are summed up at a time
    // Senseless offsets may give anything, but lead nowhere outside.
    for (const std::vector<int32_t>& offsets : {std::vector<int32_t>{0, 9, 2, 11},
                                                {0, -5, 700, 3},
                                                {5, 4, 3, 2},
                                                {0, 12, 0, 12},
                                                {7, 7}}) {
      run_once(offsets, 12, 4, warps, 1, true);
    }
  }
  // Senseless sites too, some of them twice in a frame.
  for (const std::vector<int32_t>& offsets : {std::vector<int32_t>{0, 90, 20, 300},
                                              {0, -5, 700, 3},
                                              {41, 30, 20, 0},
                                              {0, 300, 0, 300, 0, 300},
                                              {40, 41, 10, 41},
                                              {7, 7}}) {
    for (const int rows : {300, 41}) {
      std::vector<int32_t> apart(rows), twice(rows);
      for (int i = 0; i < rows; ++i) {
        apart[i] = i % 3 == 0 ? (i % 2 ? 1 << 30 : -9) : i % 35;
        twice[i] = i % 5 == 0 ? 40 : i % 7;
      }
      if (kThreadSanitizer) continue;
      place_once(offsets, apart, 5, 7, 4, 1, 1, true);
      place_once(offsets, twice, 5, 7, 4, 1, 1, true);
    }
  }
  // As many as a GPU has at a time; one thread alone plays a block then.
  for (const int32_t side : {24, 12, 6}) {
    if (mesm_ops::kLanes == 1) place_frames(512, side, side, true, 0, side == 24 ? 8 : 128, 1, 2);
  }
  run_once({0, mesm_ops::kSharedCandidates + 9}, mesm_ops::kSharedCandidates + 9, 16, 2, 1, true);
  place_frames(2, 65, 64, false, 0, 4, 2, 1);  // no candidate is in shared memory
  const std::vector<uint64_t> own(50, 3);
  std::vector<uint64_t> words(51), sums(50);
  run_look_back(own.data(), 50, words.data(), 4, sums.data());
  return sums[49] == 49 * 3 ? 0 : 1;
}
