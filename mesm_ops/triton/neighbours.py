# mypy: allow-untyped-defs
"""For each row and kernel offset, the row of the neighbour: the rulebook of the convolution."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["neighbour_table"]

_BLOCK, _BLOCK_ROWS = 512, 128  # sites, and rows with their nine neighbours, at a time
_PADDING_PROGRAMS = 128  # at most, to share the padding rows; about one for each multiprocessor


@triton.jit
def _neighbour_table(
    sites,  # (N,)
    offsets,  # (F + 1,)
    rows_at,  # (F, height, width) int32, scratch
    table,  # (N, 9)
    rows,
    frames,
    height,
    width,
    padding_programs,
    BLOCK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
):
    frame = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    rows_lane = tl.arange(0, BLOCK_ROWS)
    offset = tl.arange(0, 16)[None, :]
    if frame < frames:
        begin, end = tl.load(offsets + frame), tl.load(offsets + frame + 1)
        area = height * width
        here = rows_at + frame.to(tl.int64) * area
        for start in range(0, area, BLOCK):
            site = start + lane
            tl.store(here + site, tl.full((BLOCK,), -1, tl.int32), mask=site < area)
        # One program alone reads and writes a frame's scratch: its own barrier is enough.
        tl.debug_barrier()
        for start in range(begin, end, BLOCK):
            row = start + lane
            site = tl.load(sites + row, mask=row < end, other=0)
            tl.store(here + site, row, mask=row < end)
        tl.debug_barrier()
        for start in range(begin, end, BLOCK_ROWS):
            row = start + rows_lane
            site = tl.load(sites + row, mask=row < end, other=0)
            y = (site // width)[:, None] + (offset // 3 - 1)
            x = (site % width)[:, None] + (offset % 3 - 1)
            wanted = (row < end)[:, None] & (offset < 9)
            inside = wanted & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            neighbour = tl.load(here + y * width + x, mask=inside, other=-1)
            tl.store(table + row.to(tl.int64)[:, None] * 9 + offset, neighbour, mask=wanted)
    else:
        nobody = tl.full((BLOCK_ROWS, 16), -1, tl.int32)
        begin = tl.load(offsets + frames) + (frame - frames) * BLOCK_ROWS
        for start in range(begin, rows, padding_programs * BLOCK_ROWS):
            row = start + rows_lane
            wanted = (row < rows)[:, None] & (offset < 9)
            tl.store(table + row.to(tl.int64)[:, None] * 9 + offset, nobody, mask=wanted)


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
    rows, frames = sites.shape[0], offsets.shape[0] - 1
    table = sites.new_empty((rows, 9), dtype=torch.int32)
    scratch = sites.new_empty(frames * height * width, dtype=torch.int32)
    padding_programs = min(_PADDING_PROGRAMS, triton.cdiv(rows, _BLOCK_ROWS))
    # One launch: a program for each frame, then those for the padding.
    _neighbour_table[(frames + padding_programs,)](
        sites,
        offsets,
        scratch,
        table,
        rows,
        frames,
        height,
        width,
        padding_programs,
        BLOCK=_BLOCK,
        BLOCK_ROWS=_BLOCK_ROWS,
    )
    return table
