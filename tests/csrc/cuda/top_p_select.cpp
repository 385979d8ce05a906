// top_p_select's launches as blocks that run side by side on the host, for test_top_p_select.py.
#include "top_p_select.cuh"

#include <memory>

#include "host_block.h"

namespace mesm_ops {
namespace {

template <class P>
void select(const float* features, const int32_t* sites, const int32_t* offsets,
            const float* logits, double p, bool weighted, int64_t frames, int64_t rows,
            int64_t channels, float* out, int32_t* out_sites, int32_t* out_offsets,
            int32_t* out_rows, float* attention, uint64_t* words, int32_t height, int32_t width,
            int32_t* table, int32_t* ranks, int32_t* counts, int threads, int side_by_side) {
  const TopPSelect<P> op{reinterpret_cast<const P*>(features),
                         sites,
                         offsets,
                         logits,
                         p,
                         weighted,
                         frames,
                         rows,
                         static_cast<int32_t>(channels / P::kSize),
                         reinterpret_cast<P*>(out),
                         out_sites,
                         out_offsets,
                         out_rows,
                         attention,
                         {words},
                         {table, ranks, counts, height, width}};
  run_blocks(frames > 0 ? frames : 1, side_by_side, [&](int64_t) {
    if (table == nullptr) {
      const auto shared = std::make_unique<TopPSelectShared>();
      run_block(threads, [&] { select_frame<false>(op, *shared); });
    } else {
      const auto shared = std::make_unique<TopPSelectNeighboursShared>();
      run_block(threads, [&] { select_frame<true>(op, *shared); });
    }
  });
}

template <class P>
void select_back(const float* grad_out, const float* features, const int32_t* offsets,
                 const int32_t* out_offsets, const int32_t* kept_rows, const float* attention,
                 bool weighted, int64_t frames, int64_t rows, int64_t out_rows, int64_t channels,
                 float* grad_features, float* grad_logits, int threads, int side_by_side) {
  const TopPSelectBackward<P> op{reinterpret_cast<const P*>(grad_out),
                                 reinterpret_cast<const P*>(features),
                                 offsets,
                                 out_offsets,
                                 kept_rows,
                                 attention,
                                 weighted,
                                 frames,
                                 rows,
                                 out_rows,
                                 static_cast<int32_t>(channels / P::kSize),
                                 reinterpret_cast<P*>(grad_features),
                                 grad_logits};
  run_blocks(frames > 0 ? frames : 1, side_by_side, [&](int64_t block) {
    const auto shared = std::make_unique<TopPSelectBackwardShared>();
    run_block(threads, [&] { select_frame_backward(op, block, *shared); });
  });
}

}  // namespace
}  // namespace mesm_ops

extern "C" {

int lanes() { return mesm_ops::kLanes; }
int most_sites() { return mesm_ops::kMostSites; }
int held() { return mesm_ops::kHeld; }

// All tensors float32 or int32; words: 1 + frames zeros; wide: 16 bytes at a time; without
// neighbours if table is null.
void run_select(const float* features, const int32_t* sites, const int32_t* offsets,
                const float* logits, double p, bool weighted, int64_t frames, int64_t rows,
                int64_t channels, float* out, int32_t* out_sites, int32_t* out_offsets,
                int32_t* out_rows, float* attention, uint64_t* words, int32_t height, int32_t width,
                int32_t* table, int32_t* ranks, int32_t* counts, int threads, int side_by_side,
                bool wide) {
  using namespace mesm_ops;
  (wide ? select<WidePack<float>>
        : select<SinglePack<float>>)(features, sites, offsets, logits, p, weighted, frames, rows,
                                     channels, out, out_sites, out_offsets, out_rows, attention,
                                     words, height, width, table, ranks, counts, threads,
                                     side_by_side);
}

void run_backward(const float* grad_out, const float* features, const int32_t* offsets,
                  const int32_t* out_offsets, const int32_t* kept_rows, const float* attention,
                  bool weighted, int64_t frames, int64_t rows, int64_t out_rows, int64_t channels,
                  float* grad_features, float* grad_logits, int threads, int side_by_side,
                  bool wide) {
  using namespace mesm_ops;
  (wide ? select_back<WidePack<float>>
        : select_back<SinglePack<float>>)(grad_out, features, offsets, out_offsets, kept_rows,
                                          attention, weighted, frames, rows, out_rows, channels,
                                          grad_features, grad_logits, threads, side_by_side);
}

}  // extern "C"
