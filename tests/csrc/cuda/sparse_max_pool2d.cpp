// sparse_max_pool2d's launches as blocks that run side by side on the host, for
// test_sparse_max_pool2d.py.
#include "sparse_max_pool2d.cuh"

#include <memory>

#include "host_block.h"

namespace mesm_ops {
namespace {

template <class P>
void pool(const float* features, const int32_t* sites, const int32_t* offsets, int64_t frames,
          int64_t rows, int32_t channels, int32_t height, int32_t width, float* out,
          int32_t* out_sites, int32_t* out_offsets, int32_t* argmax, uint64_t* words, int threads,
          int side_by_side) {
  SparseMaxPool2d<P> op{reinterpret_cast<const P*>(features),
                        sites,
                        offsets,
                        frames,
                        rows,
                        0,
                        height,
                        width,
                        channels / P::kSize,
                        reinterpret_cast<P*>(out),
                        out_sites,
                        out_offsets,
                        reinterpret_cast<typename SparseMaxPool2d<P>::Rows*>(argmax),
                        nullptr,
                        {words}};
  const int64_t all = frames * op.windows();
  op.out_rows = all < rows ? all : rows;
  std::vector<Window> tables(op.windows() > kSharedWindows ? all : 0);
  op.tables = tables.data();
  run_blocks(frames > 0 ? frames : 1, side_by_side, [&](int64_t) {
    const auto shared = std::make_unique<SparseMaxPool2dShared>();
    run_block(threads, [&] { pool_frame(op, *shared); });
  });
}

template <class P>
void pool_back(const float* grad_out, const int32_t* argmax, int64_t out_rows, int64_t rows,
               int32_t channels, float* grad_in, int threads, int side_by_side) {
  const SparseMaxPool2dBackward<P> op{
      reinterpret_cast<const P*>(grad_out),
      reinterpret_cast<const typename SparseMaxPool2dBackward<P>::Rows*>(argmax),
      out_rows,
      rows,
      channels / P::kSize,
      grad_in};
  constexpr int64_t kBlocks = 3;
  run_blocks(kBlocks, side_by_side, [&](int64_t block) {
    run_block(threads, [&] { scatter_gradient(op, block, kBlocks); });
  });
}

}  // namespace
}  // namespace mesm_ops

extern "C" {

int pool_lanes() { return mesm_ops::kLanes; }
int shared_windows() { return mesm_ops::kSharedWindows; }

// words: 1 + frames zeros; wide: 16 bytes at a time.
void run_pool(const float* features, const int32_t* sites, const int32_t* offsets, int64_t frames,
              int64_t rows, int32_t channels, int32_t height, int32_t width, float* out,
              int32_t* out_sites, int32_t* out_offsets, int32_t* argmax, uint64_t* words,
              int threads, int side_by_side, bool wide) {
  using namespace mesm_ops;
  (wide ? pool<WidePack<float>> : pool<SinglePack<float>>)(features, sites, offsets, frames, rows,
                                                           channels, height, width, out, out_sites,
                                                           out_offsets, argmax, words, threads,
                                                           side_by_side);
}

// grad_in: zeros.
void run_pool_backward(const float* grad_out, const int32_t* argmax, int64_t out_rows, int64_t rows,
                       int32_t channels, float* grad_in, int threads, int side_by_side, bool wide) {
  using namespace mesm_ops;
  (wide ? pool_back<WidePack<float>> : pool_back<SinglePack<float>>)(grad_out, argmax, out_rows,
                                                                     rows, channels, grad_in,
                                                                     threads, side_by_side);
}

}  // extern "C"
