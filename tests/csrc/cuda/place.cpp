// The launches of select_and_place and of place as blocks that run side by side on the host, for
// test_place.py.
#include "place.cuh"

#include <cstdlib>
#include <memory>

#include "host_block.h"

namespace mesm_ops {
namespace {

struct How {
  int threads, side_by_side;
};

// Runs body(block, its shared memory, of so many bytes and full of rubbish at first).
template <class Body>
void run_with_shared(int64_t blocks, How how, int64_t bytes, const Body& body) {
  run_blocks(blocks, how.side_by_side, [&](int64_t block) {
    const std::unique_ptr<void, void (*)(void*)> shared(std::malloc(bytes), std::free);
    std::memset(shared.get(), 0xa5, bytes);
    run_block(how.threads, [&] { body(block, shared.get()); });
  });
}

template <bool selects>
void run_rank(const Rank& op, How how) {
  const int64_t area = int64_t{op.maps.height} * op.maps.width;
  const int64_t blocks = op.maps.frames > 0 ? op.maps.frames : 1;
  run_with_shared(blocks, how, RankMemory::bytes(area, how.threads / kLanes),
                  [&](int64_t frame, void* shared) {
                    if (area <= kSharedSites) {
                      rank_frame<selects, true>(op, frame, shared);
                    } else {
                      rank_frame<selects, false>(op, frame, shared);
                    }
                  });
}

void run_sum_up(const SumUp& op, How how) {
  const int64_t blocks = op.spans * SumUp::kBlocksOfSpan + SumUp::kBlocksBeside;
  run_with_shared(blocks, how, sizeof(SumUpShared), [&](int64_t block, void* shared) {
    sum_up_frames(op, block, *static_cast<SumUpShared*>(shared));
  });
}

int64_t bytes_of_place(const Maps& maps) {
  return PlaceMemory::bytes(int64_t{maps.height} * maps.width,
                            int64_t{maps.height / 2} * (maps.width / 2));
}

template <class P>
void select_and_place(const Maps& maps, const float* features, const float* logits, double p,
                      bool weighted, int64_t channels, int32_t span_frames, float* attention,
                      int32_t* rows, int32_t* kept_offsets, int32_t* place, int32_t* lists,
                      int32_t* masks, float* x, int32_t* windows, int32_t* window_of,
                      int32_t* out_sites, int32_t* out_offsets, int32_t* words, How how) {
  const int64_t spans = (maps.frames + span_frames - 1) / span_frames;
  const int64_t tiles = (maps.rows + kTileRows - 1) / kTileRows;
  const int64_t all = maps.frames * (maps.height / 2) * (maps.width / 2);
  const int64_t out_rows = all < maps.rows ? all : maps.rows;
  const Scratch scratch(words, maps.rows, maps.frames, spans);
  run_rank<true>({maps, logits, p, attention, scratch.ranked}, how);
  run_sum_up({scratch.ranked, scratch.totals, maps.frames, spans, span_frames, masks, tiles,
              kept_offsets, out_offsets, maps.rows, out_rows},
             how);
  const PlaceSelected<P> op{{maps, scratch.ranked, scratch.totals, kept_offsets, span_frames, tiles,
                             lists, masks, place, nullptr},
                            reinterpret_cast<const P*>(features),
                            attention,
                            weighted,
                            static_cast<int32_t>(channels / P::kSize),
                            reinterpret_cast<P*>(x),
                            rows,
                            out_offsets,
                            out_rows,
                            reinterpret_cast<Pack<int32_t, 4>*>(windows),
                            window_of,
                            out_sites};
  run_with_shared(maps.frames > 0 ? maps.frames : 1, how, bytes_of_place(maps),
                  [&](int64_t frame, void* shared) { place_selected_frame(op, frame, shared); });
}

}  // namespace
}  // namespace mesm_ops

extern "C" {

int place_lanes() { return mesm_ops::kLanes; }
int most_sites() { return mesm_ops::kMostSites; }
int shared_sites() { return mesm_ops::kSharedSites; }
int tile_rows() { return mesm_ops::kTileRows; }
int32_t span_frames_for(int64_t area) { return mesm_ops::span_frames_of(area); }

int64_t scratch_words(int64_t rows, int64_t frames, int32_t span_frames) {
  return mesm_ops::Scratch::words(rows, frames, (frames + span_frames - 1) / span_frames);
}

// wide: 16 bytes at a time.
void run_select_and_place(const float* features, const int32_t* sites, const int32_t* offsets,
                          const float* logits, int32_t height, int32_t width, double p,
                          bool weighted, int64_t frames, int64_t rows, int64_t channels,
                          int32_t span_frames, float* attention, int32_t* out_rows,
                          int32_t* kept_offsets, int32_t* place, int32_t* lists, int32_t* masks,
                          float* x, int32_t* windows, int32_t* window_of, int32_t* out_sites,
                          int32_t* out_offsets, int32_t* scratch, int threads, int side_by_side,
                          bool wide) {
  using namespace mesm_ops;
  const Maps maps{sites, offsets, frames, rows, height, width};
  (wide ? select_and_place<WidePack<float>>
        : select_and_place<SinglePack<float>>)(maps, features, logits, p, weighted, channels,
                                               span_frames, attention, out_rows, kept_offsets,
                                               place, lists, masks, x, windows, window_of,
                                               out_sites, out_offsets, scratch,
                                               {threads, side_by_side});
}

void run_place(const int32_t* sites, const int32_t* offsets, int32_t height, int32_t width,
               bool positions, int64_t frames, int64_t rows, int32_t span_frames,
               int32_t* place_or_order, int32_t* lists, int32_t* masks, int32_t* words, int threads,
               int side_by_side) {
  using namespace mesm_ops;
  const Maps maps{sites, offsets, frames, rows, height, width};
  const How how{threads, side_by_side};
  const int64_t spans = (frames + span_frames - 1) / span_frames;
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  const Scratch scratch(words, rows, frames, spans);
  run_rank<false>({maps, nullptr, 1, nullptr, scratch.ranked}, how);
  run_sum_up({scratch.ranked, scratch.totals, frames, spans, span_frames, masks, tiles, nullptr,
              nullptr, 0, 0},
             how);
  const Place op{maps,
                 scratch.ranked,
                 scratch.totals,
                 offsets,
                 span_frames,
                 tiles,
                 lists,
                 masks,
                 positions ? place_or_order : nullptr,
                 positions ? nullptr : place_or_order};
  run_with_shared(frames > 0 ? frames : 1, how, bytes_of_place(maps),
                  [&](int64_t frame, void* shared) { place_frame(op, frame, shared); });
}

}  // extern "C"
