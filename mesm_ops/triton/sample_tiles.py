# mypy: allow-untyped-defs
"""Tiles of rows that each lie in one sample, found on the device.

Sample b takes ceil(rows of b / TILE) tiles; their ends, a running sum over the samples, say which
sample a tile is of. How many tiles there are only the device knows; shapes bound it.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

__all__ = ["most_tiles", "rows_of_tile", "sample_of_tile", "sample_tiles"]

_BLOCK = 256


def sample_tiles(
    rows: int, offsets: Tensor, lengths: Tensor | None, samples: int, tile: int
) -> Tensor:
    """Return the first row, the end of the rows and the end of the tiles of each sample.

    Args:
        rows: N, which no row goes beyond whatever offsets hold.
        offsets: (F + 1,) int32.
        lengths: (B,) frames of each sample; None: one each.
        samples: B.
        tile: Rows of a tile.

    Returns:
        (3, B) int32.
    """
    schedule = offsets.new_empty(3, samples)
    if samples:
        has = lengths is not None
        frames = offsets.shape[0] - 1
        _tiles_kernel[(1,)](
            offsets, lengths if has else offsets, schedule, rows, frames, samples, has, tile, _BLOCK
        )
    return schedule


def most_tiles(rows: int, samples: int, tile: int) -> int:
    """Return a bound on the number of tiles; so many tiles cover all rows, padding too."""
    return min(rows, triton.cdiv(rows, tile) + samples)


@triton.jit(do_not_specialize=["rows", "frames", "samples"])
def _tiles_kernel(
    offsets,
    lengths,
    schedule,  # (3, B)
    rows,
    frames,
    samples,
    HAS_LENGTHS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    frames_before = 0
    tiles_before = 0
    for start in range(0, samples, BLOCK):
        sample = start + tl.arange(0, BLOCK)
        there = sample < samples
        if HAS_LENGTHS:
            length = tl.load(lengths + sample, mask=there, other=0).to(tl.int32)
        else:
            length = there.to(tl.int32)
        frame_end = frames_before + tl.cumsum(length, 0)
        frame = tl.minimum(tl.maximum(frame_end - length, 0), frames)
        begin = tl.load(offsets + frame, mask=there, other=0)
        end = tl.load(offsets + tl.minimum(tl.maximum(frame_end, 0), frames), mask=there, other=0)
        begin = tl.minimum(tl.maximum(begin, 0), rows)
        end = tl.minimum(tl.maximum(end, begin), rows)
        tiles = tl.where(end > begin, (end - begin - 1) // TILE + 1, 0)
        tl.store(schedule + sample, begin, mask=there)
        tl.store(schedule + samples + sample, end, mask=there)
        tl.store(schedule + 2 * samples + sample, tiles_before + tl.cumsum(tiles, 0), mask=there)
        frames_before += tl.sum(length, 0)
        tiles_before += tl.sum(tiles, 0)


@triton.jit
def sample_of_tile(tile, schedule, samples, steps):
    """Return the sample of a tile, or the number of samples; steps: bits of that number."""
    low = tile * 0
    high = low + samples
    for _ in range(steps):
        middle = (low + high) // 2
        end = tl.load(schedule + 2 * samples + tl.minimum(middle, samples - 1))
        searching = low < high
        after = searching & (end <= tile)
        high = tl.where(searching & (end > tile), middle, high)
        low = tl.where(after, middle + 1, low)
    return low


@triton.jit
def rows_of_tile(tile, sample, schedule, samples, TILE: tl.constexpr):
    """Return the first row of a sample's tile, int64, and which of the TILE rows it has."""
    before = tl.load(schedule + 2 * samples + sample - 1, mask=sample > 0, other=0)
    done = (tile - before) * TILE
    begin = tl.load(schedule + sample)
    left = tl.load(schedule + samples + sample) - begin - done
    return begin.to(tl.int64) + done, tl.arange(0, TILE) < left
