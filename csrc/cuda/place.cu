// Selects rows and places the kept rows, or places given rows, for the convolutions that follow:
// three launches, one block a frame except in the second. Other backends' ops call these functions
// with the tensors to write. All tensors are sized from shapes alone and nothing is copied to the
// host, so that a CUDA graph can capture the calls.
#include <string>
#include <vector>

#include "launch.cuh"
#include "place.cuh"

namespace mesm_ops {
namespace {

constexpr int kRankThreads = 512;
constexpr int kSumThreads = 1024;

// gpu-check: rank threads=128 shared=17872
template <bool selects, bool in_shared>
__global__ void __launch_bounds__(kRankThreads) rank(const __grid_constant__ Rank op) {
  extern __shared__ uint4 shared[];  // aligned to 16 bytes
  rank_frame<selects, in_shared>(op, blockIdx.x, shared);
}

// gpu-check: sum_up_counts threads=1024 shared=0
__global__ void __launch_bounds__(kSumThreads) sum_up_counts(const __grid_constant__ SumUp op) {
  __shared__ SumUpShared shared;
  sum_up_frames(op, blockIdx.x, shared);
}

// gpu-check: place_selected threads=256 shared=12080
template <class P>
__global__ void __launch_bounds__(kThreads, 4)
    place_selected(const __grid_constant__ PlaceSelected<P> op) {
  extern __shared__ uint4 shared[];  // aligned to 16 bytes
  place_selected_frame(op, blockIdx.x, shared);
}

// gpu-check: place_given threads=256 shared=12080
__global__ void __launch_bounds__(kThreads, 4) place_given(const __grid_constant__ Place op) {
  extern __shared__ uint4 shared[];  // aligned to 16 bytes
  place_frame(op, blockIdx.x, shared);
}

template <class Op>
void launch(const char* name, void (*kernel)(Op), unsigned blocks, int threads, int64_t shared,
            cudaStream_t stream, const Op& op) {
  constexpr int64_t kUnasked = 48 << 10;
  if (shared > kUnasked) {
    const cudaError_t error =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    MESM_CHECK(error == cudaSuccess, "place: ", name, " takes ", shared,
               " bytes of a block's shared memory: ", cudaGetErrorString(error));
  }
  kernel<<<blocks, threads, shared, stream>>>(op);
  check_launch("place", name);
}

std::string text_of(const std::vector<int64_t>& sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "(" : ", ") + std::to_string(size);
  return text + ")";
}

std::vector<int64_t> sizes_of(const Tensor& t) {
  std::vector<int64_t> sizes;
  for (int64_t dim = 0; dim < t.dim(); ++dim) sizes.push_back(t.size(dim));
  return sizes;
}

struct Wanted {
  const char* name;
  const Tensor& tensor;
  ScalarType dtype;
  std::vector<int64_t> sizes;
};

void check(const char* op, const Tensor& beside, const std::vector<Wanted>& tensors) {
  for (const auto& [name, tensor, dtype, sizes] : tensors) {
    MESM_CHECK(tensor.scalar_type() == dtype && is_beside(tensor, beside), op, ": ", name,
               " must be ", torch::headeronly::toString(dtype), " on the device of sites");
    const std::vector<int64_t> found = sizes_of(tensor);
    MESM_CHECK(found == sizes && tensor.is_contiguous(), op, ": ", name, " must be ",
               text_of(sizes), " and contiguous, got ", text_of(found));
  }
}

void check_maps(const char* op, int64_t height, int64_t width) {
  MESM_CHECK(height >= 0 && width >= 0 && height <= kMostSites && width <= kMostSites &&
                 height * width <= kMostSites,
             op, ": maps must have at most ", kMostSites, " sites, got ", height, " x ", width);
}

// Common to both ops: checked maps, scratch memory, and the launches.
struct Launches {
  const char* op;
  Maps maps;
  int64_t tiles, spans;
  int32_t span_frames;
  Scratch scratch;
  unsigned blocks;
  int threads_of_place;

  Launches(const char* name, const Tensor& sites, const Tensor& offsets, int64_t height,
           int64_t width, const Tensor& words)
      : op(name), scratch(nullptr, 0, 0, 0) {
    MESM_CHECK(sites.is_cuda() && sites.numel() <= INT32_MAX - kTileRows, op,
               ": sites must be on a GPU and fewer than 2^31 - ", kTileRows);
    check_maps(op, height, width);
    blocks = blocks_for_frames(op, offsets);
    const int64_t rows = sites.numel(), frames = offsets.numel() - 1;
    tiles = (rows + kTileRows - 1) / kTileRows;
    span_frames = span_frames_of(height * width);
    spans = (frames + span_frames - 1) / span_frames;
    check(op, sites,
          {{"sites", sites, ScalarType::Int, {rows}},
           {"offsets", offsets, ScalarType::Int, {frames + 1}},
           {"scratch", words, ScalarType::Int, {words.numel()}}});
    const int64_t wanted = Scratch::words(rows, frames, spans);
    int32_t* at = mutable_data<int32_t>(words);
    MESM_CHECK(words.numel() >= wanted && reinterpret_cast<uintptr_t>(at) % alignof(RankedRow) == 0,
               op, ": scratch must be of at least ", wanted,
               " elements that begin at a multiple of ", alignof(RankedRow), " bytes, got ",
               words.numel());
    maps = {data<int32_t>(sites),         data<int32_t>(offsets),     frames, rows,
            static_cast<int32_t>(height), static_cast<int32_t>(width)};
    scratch = Scratch(at, rows, frames, spans);
    threads_of_place = height * width <= 64 ? kThreads / 2 : kThreads;
  }

  template <bool selects>
  void launch_rank(const Rank& rank_op, cudaStream_t stream) const {
    const int64_t area = int64_t{maps.height} * maps.width;
    const int warps = warps_for(area, kRankThreads / kLanes);
    const auto kernel = area <= kSharedSites ? rank<selects, true> : rank<selects, false>;
    launch("rank", kernel, blocks, warps * kLanes, RankMemory::bytes(area, warps), stream, rank_op);
  }

  void launch_sum_up(const SumUp& sum_up_op, cudaStream_t stream) const {
    const int64_t number = spans * SumUp::kBlocksOfSpan + SumUp::kBlocksBeside;
    MESM_CHECK(number <= INT32_MAX, op, ": too many frames, ", maps.frames);
    launch("sum_up_counts", sum_up_counts, static_cast<unsigned>(number), kSumThreads, 0, stream,
           sum_up_op);
  }

  int64_t shared_of_place() const {
    return PlaceMemory::bytes(int64_t{maps.height} * maps.width,
                              int64_t{maps.height / 2} * (maps.width / 2));
  }
};

// Writes, for N candidates of C channels in F frames, of which K rows are kept, in T = ceil(N /
// 128) tiles at most, and W = min(N, F * (height / 2) * (width / 2)) windows of a 2x2 pool at most:
//   attention (N): softmax of the logits in each frame; 0 in padding
//   rows (N): the candidate that each kept row is; -1 in padding
//   kept_offsets (F + 1)
//   place (N): the position of each kept row; undefined beyond K
//   lists (T, 9, 128): by position, the position of the neighbour at each tap; -1 if there is none,
//     and beyond K in the last tile of K rows; undefined in tiles beyond that
//   masks (T): the taps at which a row of the tile has a neighbour, a bit each
//   x (T * 128, C): by position, the row's features, times candidates * attention if `scales`;
//     undefined beyond K
//   windows (W, 4): the positions of the rows of each active window, -1 if there is none; undefined
//     beyond the last
//   window_of (T * 128): by position, 4 * the row's window + the row's slot there, -1 without
//     a window; undefined beyond K
//   out_sites (W): the site of each active window in the pooled map; 0 in padding
//   out_offsets (F + 1): the active windows' offsets
void select_and_place(const Tensor& features, const Tensor& sites, const Tensor& offsets,
                      const Tensor& logits, int64_t height, int64_t width, double p, bool scales,
                      Tensor attention, Tensor rows, Tensor kept_offsets, Tensor place,
                      Tensor lists, Tensor masks, Tensor x, Tensor windows, Tensor window_of,
                      Tensor out_sites, Tensor out_offsets, Tensor scratch) {
  constexpr const char* kOp = "select_and_place";
  MESM_CHECK(p > 0, kOp, ": p must be in (0, 1], got ", p);
  const Launches launches(kOp, sites, offsets, height, width, scratch);
  check_features(kOp, features);
  const int64_t number = launches.maps.rows, frames = launches.maps.frames;
  const int64_t tiles = launches.tiles, channels = features.size(1);
  const int64_t out_rows = std::min(number, frames * (height / 2) * (width / 2));
  MESM_CHECK(out_rows <= INT32_MAX / 4, kOp, ": too many rows, ", number);
  constexpr auto kInt = ScalarType::Int;
  const ScalarType dtype = features.scalar_type();
  check(kOp, sites,
        {{"features", features, dtype, {number, channels}},
         {"logits", logits, ScalarType::Float, {number}},
         {"attention", attention, ScalarType::Float, {number}},
         {"rows", rows, kInt, {number}},
         {"kept_offsets", kept_offsets, kInt, {frames + 1}},
         {"place", place, kInt, {number}},
         {"lists", lists, kInt, {tiles, kTaps, kTileRows}},
         {"masks", masks, kInt, {tiles}},
         {"x", x, dtype, {tiles * kTileRows, channels}},
         {"windows", windows, kInt, {out_rows, 4}},
         {"window_of", window_of, kInt, {tiles * kTileRows}},
         {"out_sites", out_sites, kInt, {out_rows}},
         {"out_offsets", out_offsets, kInt, {frames + 1}}});
  MESM_CHECK(reinterpret_cast<uintptr_t>(windows.const_data_ptr()) % 16 == 0, kOp,
             ": windows must begin at a multiple of 16 bytes");
  const void* from = features.const_data_ptr();
  void* to = x.mutable_data_ptr();
  const torch::stable::accelerator::DeviceGuard guard(sites.get_device_index());
  const cudaStream_t stream = current_stream(sites);
  with_pack(kOp, dtype, channels, {from, to}, [&](auto pack) {
    using P = decltype(pack);
    launches.launch_rank<true>({launches.maps, data<float>(logits), p,
                                mutable_data<float>(attention), launches.scratch.ranked},
                               stream);
    launches.launch_sum_up(
        {launches.scratch.ranked, launches.scratch.totals, frames, launches.spans,
         launches.span_frames, mutable_data<int32_t>(masks), tiles,
         mutable_data<int32_t>(kept_offsets), mutable_data<int32_t>(out_offsets), number, out_rows},
        stream);
    const PlaceSelected<P> op{
        {launches.maps, launches.scratch.ranked, launches.scratch.totals,
         data<int32_t>(kept_offsets), launches.span_frames, tiles, mutable_data<int32_t>(lists),
         mutable_data<int32_t>(masks), mutable_data<int32_t>(place), nullptr},
        static_cast<const P*>(from),
        data<float>(attention),
        scales,
        static_cast<int32_t>(channels / P::kSize),
        static_cast<P*>(to),
        mutable_data<int32_t>(rows),
        data<int32_t>(out_offsets),
        out_rows,
        static_cast<Pack<int32_t, 4>*>(windows.mutable_data_ptr()),
        mutable_data<int32_t>(window_of),
        mutable_data<int32_t>(out_sites)};
    launch("place_selected", place_selected<P>, launches.blocks, launches.threads_of_place,
           launches.shared_of_place(), stream, op);
  });
}

// Writes lists and masks for K = offsets[F] rows that are kept already. If `positions`,
// place_or_order is place (N). Else place_or_order is order (T * 128), the row at each position,
// beyond K the padding rows and then -1; and lists has row numbers instead of positions.
void place(const Tensor& sites, const Tensor& offsets, int64_t height, int64_t width,
           bool positions, Tensor place_or_order, Tensor lists, Tensor masks, Tensor scratch) {
  constexpr const char* kOp = "place";
  const Launches launches(kOp, sites, offsets, height, width, scratch);
  const int64_t tiles = launches.tiles;
  constexpr auto kInt = ScalarType::Int;
  check(kOp, sites,
        {{"place_or_order",
          place_or_order,
          kInt,
          {positions ? launches.maps.rows : tiles * kTileRows}},
         {"lists", lists, kInt, {tiles, kTaps, kTileRows}},
         {"masks", masks, kInt, {tiles}}});
  const torch::stable::accelerator::DeviceGuard guard(sites.get_device_index());
  const cudaStream_t stream = current_stream(sites);
  launches.launch_rank<false>({launches.maps, nullptr, 1, nullptr, launches.scratch.ranked},
                              stream);
  launches.launch_sum_up(
      {launches.scratch.ranked, launches.scratch.totals, launches.maps.frames, launches.spans,
       launches.span_frames, mutable_data<int32_t>(masks), tiles, nullptr, nullptr, 0, 0},
      stream);
  int32_t* where = mutable_data<int32_t>(place_or_order);
  const Place op{launches.maps,
                 launches.scratch.ranked,
                 launches.scratch.totals,
                 data<int32_t>(offsets),
                 launches.span_frames,
                 tiles,
                 mutable_data<int32_t>(lists),
                 mutable_data<int32_t>(masks),
                 positions ? where : nullptr,
                 positions ? nullptr : where};
  launch("place_given", place_given, launches.blocks, launches.threads_of_place,
         launches.shared_of_place(), stream, op);
}

// How many int32 of scratch memory both ops need, beginning at a multiple of 8 bytes.
int64_t place_scratch(const Tensor& sites, int64_t frames, int64_t height, int64_t width) {
  check_maps("place_scratch", height, width);
  const int64_t span_frames = span_frames_of(height * width);
  return Scratch::words(sites.numel(), frames, (frames + span_frames - 1) / span_frames);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cuda, CUDA, m) {
  m.impl("select_and_place", TORCH_BOX(&select_and_place));
  m.impl("place", TORCH_BOX(&place));
  m.impl("place_scratch", TORCH_BOX(&place_scratch));
}

}  // namespace mesm_ops
