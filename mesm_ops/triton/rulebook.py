# mypy: allow-untyped-defs
"""The rulebook of a set of sites: made once, read by every convolution over them and its gradients.

Rows of like neighbours stand side by side in `order`, so that a tile of them can leave out the
offsets at which none has one. They are sorted by pattern (see `neighbours`) inside windows of
frames, not over all, so that the rows of tiles that run at the same time stay in the GPU's cache.
It is a counting sort: two runs agree. `pairs` lists for each offset the rows that have a neighbour
there, without gaps, as the weight gradient multiplies them.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from .neighbours import CHUNK, COLUMNS, PATTERNS, Neighbours, chunks_of, neighbours

__all__ = ["Rulebook", "flat_size", "from_flat", "rulebook", "rules_of"]

# Of a window: at half density 16384 rows, of 512 channels in bfloat16 17 of an H200's 50 MB cache.
_WINDOW_SITES = 32768
_BLOCK_CHUNKS, _BLOCK_COLUMNS = 128, 16
_BLOCK_ROWS = 128
_BLOCK_WINDOWS = 32
_PADDING_PROGRAMS = 128


class Rulebook(NamedTuple):
    """Who is whose neighbour, in the ways that the kernels read it."""

    order: Tensor  # (N,) int32: all rows; those that are not padding by what neighbours they have
    table: Tensor  # (N, 9) int32: the row at s + o of each row of `order`, -1 if there is none
    # For each offset the rows that have a neighbour there, ascending. As sites ascend in a frame,
    # the neighbours ascend too: those of offset o are the rows of offset 8 - o.
    pairs: Tensor  # (9, N) int32
    numbers: Tensor  # (16,) int32: how many pairs each offset has
    windows: Tensor  # (N,) int32: -1; `norm_pool` leaves here which window of the pool a row is in


@triton.jit(do_not_specialize=["chunks", "per_window"])
def _sum_up(
    counts,  # (frames * chunks, COLUMNS): becomes those of the window's chunks before
    totals,  # (windows, COLUMNS)
    chunks,  # of all frames
    per_window,
    COLUMNS: tl.constexpr,
    BLOCK_CHUNKS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    window = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    end = tl.minimum((window + 1) * per_window, chunks)
    before = tl.zeros((BLOCK_COLUMNS,), tl.int32)
    for start in range(window * per_window, end, BLOCK_CHUNKS):
        chunk = start + tl.arange(0, BLOCK_CHUNKS)
        at = counts + chunk[:, None] * COLUMNS + column[None, :]
        count = tl.load(at, mask=(chunk < end)[:, None], other=0)
        tl.store(at, before[None, :] + tl.cumsum(count, 0) - count, mask=(chunk < end)[:, None])
        before += tl.sum(count, 0)
    tl.store(totals + window * COLUMNS + column, before)


@triton.jit(do_not_specialize=["frames", "chunks", "window_frames", "windows"])
def _place(
    found,  # (N, 9): the table of rows where they stand
    ranks,  # (N,)
    offsets,  # (F + 1,)
    counts,  # (F * chunks, COLUMNS), as _sum_up left them
    totals,  # (windows, COLUMNS)
    order,  # (N,)
    table,  # (N, 9), in that order
    pairs,  # (9, N)
    numbers,  # (16,)
    row_windows,  # (N,)
    rows,
    frames,
    chunks,  # of a frame
    window_frames,
    windows,
    CHUNK: tl.constexpr,
    PATTERNS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_WINDOWS: tl.constexpr,
):
    program = tl.program_id(0)
    lane = tl.arange(0, BLOCK_ROWS)
    offset = tl.arange(0, 16)
    if program < frames * chunks:
        frame = program // chunks
        window = frame // window_frames
        frame_end = tl.load(offsets + frame + 1)
        begin = tl.minimum(tl.load(offsets + frame) + program % chunks * CHUNK, frame_end)
        end = tl.minimum(begin + CHUNK, frame_end)
        # Where the window's rows of each pattern begin.
        of_patterns = tl.load(totals + window * COLUMNS + tl.arange(0, PATTERNS))
        first = tl.cumsum(of_patterns, 0) - of_patterns
        first += tl.load(offsets + window * window_frames)
        line = counts + program.to(tl.int64) * COLUMNS
        done = tl.load(line + PATTERNS + offset)  # of the pairs of each offset
        for start in range(0, window, BLOCK_WINDOWS):
            before = start + tl.arange(0, BLOCK_WINDOWS)
            at = totals + before[:, None] * COLUMNS + PATTERNS + offset[None, :]
            done += tl.sum(tl.load(at, mask=(before < window)[:, None], other=0), 0)
        for start in range(begin, end, BLOCK_ROWS):
            row = start + lane
            there = row < end
            rank = tl.load(ranks + row, mask=there, other=0)
            pattern = rank // CHUNK
            place = tl.gather(first, pattern, 0) + tl.load(line + pattern) + rank % CHUNK
            tl.store(order + place, row, mask=there)
            tl.store(row_windows + row, tl.full((BLOCK_ROWS,), -1, tl.int32), mask=there)
            wanted = there[:, None] & (offset < 9)[None, :]
            at = found + row.to(tl.int64)[:, None] * 9 + offset[None, :]
            neighbour = tl.load(at, mask=wanted, other=-1)
            at = table + place.to(tl.int64)[:, None] * 9 + offset[None, :]
            tl.store(at, neighbour, mask=wanted)
            known = neighbour >= 0
            one = known.to(tl.int32)
            at = done[None, :] + tl.cumsum(one, 0) - one
            at += offset[None, :].to(tl.int64) * rows
            tl.store(pairs + at, tl.broadcast_to(row[:, None], (BLOCK_ROWS, 16)), mask=known)
            done += tl.sum(one, 0)
    else:
        part = program - frames * chunks
        parts = tl.num_programs(0) - frames * chunks
        begin = tl.load(offsets + frames) + part * BLOCK_ROWS
        for start in range(begin, rows, parts * BLOCK_ROWS):
            row = start + lane
            tl.store(order + row, row, mask=row < rows)
            tl.store(row_windows + row, tl.full((BLOCK_ROWS,), -1, tl.int32), mask=row < rows)
            at = table + row.to(tl.int64)[:, None] * 9 + offset[None, :]
            wanted = (row < rows)[:, None] & (offset < 9)[None, :]
            tl.store(at, tl.full((BLOCK_ROWS, 16), -1, tl.int32), mask=wanted)
        if part == 0:
            number = tl.zeros((16,), tl.int32)
            for start in range(0, windows, BLOCK_WINDOWS):
                window = start + tl.arange(0, BLOCK_WINDOWS)
                at = totals + window[:, None] * COLUMNS + PATTERNS + offset[None, :]
                number += tl.sum(tl.load(at, mask=(window < windows)[:, None], other=0), 0)
            tl.store(numbers + offset, number)


def flat_size(rows: int) -> int:
    """Return how many int32 a rulebook of so many rows takes."""
    return 20 * rows + 16


def from_flat(flat: Tensor, rows: int) -> Rulebook:
    """Return the rulebook that lies in a tensor of `flat_size(rows)` int32."""
    order, table, pairs, numbers, windows = flat.split((rows, 9 * rows, 9 * rows, 16, rows))
    return Rulebook(order, table.view(rows, 9), pairs.view(9, rows), numbers, windows)


def rulebook(found: Neighbours, offsets: Tensor, height: int, width: int) -> Tensor:
    """Return the rulebook of sites, to be read with `from_flat`.

    Args:
        found: What it returned; its counts are used up.
        offsets: (F + 1,) int32.
        height: Of the maps.
        width: Of the maps.
    """
    rows, frames = found.ranks.shape[0], offsets.shape[0] - 1
    flat = found.table.new_empty(flat_size(rows))
    made = from_flat(flat, rows)
    chunks = chunks_of(height, width)
    window_frames = max(1, _WINDOW_SITES // max(1, height * width))
    windows = triton.cdiv(frames, window_frames)
    totals = found.counts.new_empty(windows, COLUMNS)
    if windows:
        _sum_up[(windows, COLUMNS // _BLOCK_COLUMNS)](
            found.counts,
            totals,
            frames * chunks,
            window_frames * chunks,
            COLUMNS=COLUMNS,
            BLOCK_CHUNKS=_BLOCK_CHUNKS,
            BLOCK_COLUMNS=_BLOCK_COLUMNS,
        )
    padding_programs = max(1, min(_PADDING_PROGRAMS, triton.cdiv(rows, _BLOCK_ROWS)))
    _place[(frames * chunks + padding_programs,)](
        found.table,
        found.ranks,
        offsets,
        found.counts,
        totals,
        made.order,
        made.table,
        made.pairs,
        made.numbers,
        made.windows,
        rows,
        frames,
        chunks,
        window_frames,
        windows,
        CHUNK=CHUNK,
        PATTERNS=PATTERNS,
        COLUMNS=COLUMNS,
        BLOCK_ROWS=_BLOCK_ROWS,
        BLOCK_WINDOWS=_BLOCK_WINDOWS,
    )
    return flat


def rules_of(sites: Tensor, offsets: Tensor, height: int, width: int) -> Rulebook:
    """Return the rulebook of sites, whose neighbours are looked for first."""
    found = neighbours(sites, offsets, height, width)
    return from_flat(rulebook(found, offsets, height, width), sites.shape[0])
