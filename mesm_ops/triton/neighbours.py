# mypy: allow-untyped-defs
"""For each row and kernel offset, the row of the neighbour; and which rows have like neighbours.

A row's pattern is the set of offsets at which it has a neighbour: nine bits, numbered along a Gray
code, so that patterns of neighbouring numbers differ little. Patterns are counted and rows ranked
among those of their pattern by chunks of `CHUNK` rows of a frame; `rulebook` goes on from there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = [
    *("CHUNK", "COLUMNS", "PATTERNS", "Neighbours"),
    *("chunks_of", "neighbour_table", "neighbours"),
]

CHUNK = 512  # rows of a frame that are ranked together: each is compared with those before it
PATTERNS = 512
COLUMNS = PATTERNS + 16  # of a chunk's counts: its patterns, then the nine offsets
_BLOCK, _BLOCK_ROWS = 512, 128  # sites, and rows with their nine neighbours, at a time
_BLOCK_BEFORE = 32  # rows that those are compared with at a time
_PADDING_PROGRAMS = 128  # at most, to share the padding rows; about one for each multiprocessor
# The bit of a pattern's Gray code that stands for each offset, four bits for each. Corners are the
# first to be missing, then sides; the middle is always there.
_CODE_BITS = 0x5_1_6_2_0_3_7_4_8


class Neighbours(NamedTuple):
    """What `neighbours` returns."""

    table: Tensor  # (N, 9) int32
    ranks: Tensor  # (N,) int32
    counts: Tensor  # (chunks, COLUMNS) int32


@triton.jit(do_not_specialize=["frames", "chunks", "padding_programs"])
def _neighbours(
    sites,  # (N,)
    offsets,  # (F + 1,)
    rows_at,  # (F, height, width) int32, scratch
    table,  # (N, 9)
    patterns,  # (N,) int32, scratch
    ranks,  # (N,) int32
    counts,  # (F * chunks, COLUMNS) int32
    rows,
    frames,
    height,
    width,
    chunks,  # of a frame
    padding_programs,
    RANKED: tl.constexpr,
    CODE_BITS: tl.constexpr,
    CHUNK: tl.constexpr,
    PATTERNS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_BEFORE: tl.constexpr,
):
    frame = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    rows_lane = tl.arange(0, BLOCK_ROWS)
    offset = tl.arange(0, 16)[None, :]
    if frame < frames:
        frame_begin, frame_end = tl.load(offsets + frame), tl.load(offsets + frame + 1)
        area = height * width
        here = rows_at + frame.to(tl.int64) * area
        for start in range(0, area, BLOCK):
            site = start + lane
            tl.store(here + site, tl.full((BLOCK,), -1, tl.int32), mask=site < area)
        # One program alone reads and writes a frame's scratch: its own barrier is enough.
        tl.debug_barrier()
        for start in range(frame_begin, frame_end, BLOCK):
            row = start + lane
            site = tl.load(sites + row, mask=row < frame_end, other=0)
            tl.store(here + site, row, mask=row < frame_end)
        tl.debug_barrier()
        for chunk in range(0, chunks):
            begin = tl.minimum(frame_begin + chunk * CHUNK, frame_end)
            end = tl.minimum(begin + CHUNK, frame_end)
            of_patterns = tl.zeros((PATTERNS,), tl.int32)
            of_offsets = tl.zeros((16,), tl.int32)
            for start in range(begin, end, BLOCK_ROWS):
                row = start + rows_lane
                site = tl.load(sites + row, mask=row < end, other=0)
                y = (site // width)[:, None] + (offset // 3 - 1)
                x = (site % width)[:, None] + (offset % 3 - 1)
                wanted = (row < end)[:, None] & (offset < 9)
                inside = wanted & (y >= 0) & (y < height) & (x >= 0) & (x < width)
                neighbour = tl.load(here + y * width + x, mask=inside, other=-1)
                tl.store(table + row.to(tl.int64)[:, None] * 9 + offset, neighbour, mask=wanted)
                if RANKED:
                    known = (neighbour >= 0).to(tl.int32)
                    bit = ((CODE_BITS >> (offset.to(tl.int64) * 4)) & 15).to(tl.int32)
                    pattern = tl.sum(known << bit, 1)
                    for shift in tl.static_range(4):  # its place in the Gray code
                        pattern = pattern ^ (pattern >> (1 << shift))
                    tl.store(patterns + row, pattern, mask=row < end)
                    of_patterns += tl.histogram(pattern, PATTERNS, mask=row < end)
                    of_offsets += tl.sum(known, 0)
            if RANKED:
                line = counts + (frame.to(tl.int64) * chunks + chunk) * COLUMNS
                tl.store(line + tl.arange(0, PATTERNS), of_patterns)
                tl.store(line + PATTERNS + tl.arange(0, 16), of_offsets)
                tl.debug_barrier()
                for start in range(begin, end, BLOCK_ROWS):
                    row = start + rows_lane
                    pattern = tl.load(patterns + row, mask=row < end, other=0)
                    before = tl.zeros((BLOCK_ROWS, BLOCK_BEFORE), tl.int32)
                    for first in range(begin, tl.minimum(start + BLOCK_ROWS, end), BLOCK_BEFORE):
                        other = first + tl.arange(0, BLOCK_BEFORE)
                        theirs = tl.load(patterns + other, mask=other < end, other=-1)
                        alike = theirs[None, :] == pattern[:, None]
                        before += (alike & (other[None, :] < row[:, None])).to(tl.int32)
                    rank = pattern * CHUNK + tl.sum(before, 1)
                    tl.store(ranks + row, rank, mask=row < end)
    else:
        nobody = tl.full((BLOCK_ROWS, 16), -1, tl.int32)
        begin = tl.load(offsets + frames) + (frame - frames) * BLOCK_ROWS
        for start in range(begin, rows, padding_programs * BLOCK_ROWS):
            row = start + rows_lane
            wanted = (row < rows)[:, None] & (offset < 9)
            tl.store(table + row.to(tl.int64)[:, None] * 9 + offset, nobody, mask=wanted)


def chunks_of(height: int, width: int) -> int:
    """Return into how many chunks a frame's rows are parted, as many as there may be."""
    return max(1, triton.cdiv(height * width, CHUNK))


def neighbour_table(sites: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """Return the row of the active site at s + o for each row's site s and kernel offset o.

    Args:
        sites: (N,) int32; what padding rows hold is not looked at.
        offsets: (F + 1,) int32.
        height: Of the maps.
        width: Of the maps.

    Returns:
        (N, 9) int32, column (dy + 1) * 3 + (dx + 1); -1 where that site is not active or outside
        the frame, and in all columns of padding rows.
    """
    return _launch(sites, offsets, height, width, ranked=False).table


def neighbours(sites: Tensor, offsets: Tensor, height: int, width: int) -> Neighbours:
    """Return the table of `neighbour_table`, and what rows of like neighbours are found by.

    Args:
        sites: (N,) int32, ascending in each frame.
        offsets: (F + 1,) int32.
        height: Of the maps.
        width: Of the maps.

    Returns:
        The table; of each row that is not padding the number of its pattern times `CHUNK`, plus the
        rows of that pattern before it in its chunk; and of each chunk, those of a frame side by
        side, the number of rows of each pattern and then of rows with a neighbour at each offset.
    """
    return _launch(sites, offsets, height, width, ranked=True)


def _launch(sites: Tensor, offsets: Tensor, height: int, width: int, ranked: bool) -> Neighbours:
    rows, frames = sites.shape[0], offsets.shape[0] - 1
    chunks = chunks_of(height, width)
    table = sites.new_empty((rows, 9), dtype=torch.int32)
    scratch = sites.new_empty(frames * height * width, dtype=torch.int32)
    patterns, ranks = sites.new_empty((2, rows if ranked else 0), dtype=torch.int32)
    counts = sites.new_empty((frames * chunks if ranked else 0, COLUMNS), dtype=torch.int32)
    padding_programs = min(_PADDING_PROGRAMS, triton.cdiv(rows, _BLOCK_ROWS))
    # One launch: a program for each frame, then those for the padding.
    _neighbours[(frames + padding_programs,)](
        sites,
        offsets,
        scratch,
        table,
        patterns,
        ranks,
        counts,
        rows,
        frames,
        height,
        width,
        chunks,
        padding_programs,
        RANKED=ranked,
        CODE_BITS=_CODE_BITS,
        CHUNK=CHUNK,
        PATTERNS=PATTERNS,
        COLUMNS=COLUMNS,
        BLOCK=_BLOCK,
        BLOCK_ROWS=_BLOCK_ROWS,
        BLOCK_BEFORE=_BLOCK_BEFORE,
        num_warps=8,
    )
    return Neighbours(table, ranks, counts)
