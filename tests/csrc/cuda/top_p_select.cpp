// top_p_select's launches as blocks that run side by side on the host, for test_top_p_select.py.
#include "top_p_select.cuh"

#include <memory>

#include "host_block.h"

namespace mesm_ops {
namespace {

template <class P>
void select(const float* features, const int32_t* sites, const int32_t* offsets,
            const float* logits, double p, bool scales, int64_t frames, int64_t rows,
            int64_t channels, float* out, int32_t* out_sites, int32_t* out_offsets,
            int32_t* out_rows, float* attention, int32_t* kept, int32_t* numbers, int threads,
            int side_by_side) {
  const TopPSelect selection{offsets, logits, p, frames, rows, attention, kept, numbers};
  const int64_t blocks = frames > 0 ? frames : 1;
  run_blocks(blocks, side_by_side, [&](int64_t block) {
    const auto shared = std::make_unique<TopPSelectShared>();
    run_block(threads, [&] { select_frame(selection, block, *shared); });
  });
  SharedExchange shared;
  run_block(threads, [&] {
    Exchange exchange{shared.bytes};
    write_offsets(numbers, frames, rows, out_offsets, exchange);
  });
  const TopPGather<P> op{reinterpret_cast<const P*>(features),
                         sites,
                         offsets,
                         attention,
                         kept,
                         scales,
                         frames,
                         rows,
                         static_cast<int32_t>(channels / P::kSize),
                         reinterpret_cast<P*>(out),
                         out_sites,
                         out_offsets,
                         out_rows};
  run_blocks(blocks, side_by_side,
             [&](int64_t block) { run_block(threads, [&] { gather_frame(op, block); }); });
}

template <class P>
void select_back(const float* grad_out, const float* features, const int32_t* offsets,
                 const int32_t* out_offsets, const int32_t* kept_rows, const float* attention,
                 bool scales, bool learns, int64_t frames, int64_t rows, int64_t out_rows,
                 int64_t channels, float* grad_features, float* grad_logits, int threads,
                 int side_by_side) {
  const TopPSelectBackward<P> op{reinterpret_cast<const P*>(grad_out),
                                 reinterpret_cast<const P*>(features),
                                 offsets,
                                 out_offsets,
                                 kept_rows,
                                 attention,
                                 scales,
                                 learns,
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
int shared_candidates() { return mesm_ops::kSharedCandidates; }

// All tensors float32 or int32; kept: rows; numbers: frames; wide: 16 bytes at a time.
void run_select(const float* features, const int32_t* sites, const int32_t* offsets,
                const float* logits, double p, bool scales, int64_t frames, int64_t rows,
                int64_t channels, float* out, int32_t* out_sites, int32_t* out_offsets,
                int32_t* out_rows, float* attention, int32_t* kept, int32_t* numbers, int threads,
                int side_by_side, bool wide) {
  using namespace mesm_ops;
  (wide ? select<WidePack<float>>
        : select<SinglePack<float>>)(features, sites, offsets, logits, p, scales, frames, rows,
                                     channels, out, out_sites, out_offsets, out_rows, attention,
                                     kept, numbers, threads, side_by_side);
}

void run_backward(const float* grad_out, const float* features, const int32_t* offsets,
                  const int32_t* out_offsets, const int32_t* kept_rows, const float* attention,
                  bool scales, bool learns, int64_t frames, int64_t rows, int64_t out_rows,
                  int64_t channels, float* grad_features, float* grad_logits, int threads,
                  int side_by_side, bool wide) {
  using namespace mesm_ops;
  (wide ? select_back<WidePack<float>>
        : select_back<SinglePack<float>>)(grad_out, features, offsets, out_offsets, kept_rows,
                                          attention, scales, learns, frames, rows, out_rows,
                                          channels, grad_features, grad_logits, threads,
                                          side_by_side);
}

}  // extern "C"
