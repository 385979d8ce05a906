# mypy: allow-untyped-defs
"""Persistent kernels over rows: few programs, each of which walks over many tiles of rows.

A program keeps its channels, hence a norm's vectors, from tile to tile. The 16 bytes that each of
its threads reads at once are a step, several steps a tile; the loops are pipelined, so that whole
tiles are under way. The numbers below are the same on every GPU, so that every sum's order, hence
every bit, follows from the shapes alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from .layout import TILE
from .sizes import cdiv, next_power_of_2

__all__ = [
    "WARPS",
    "PersistentGrid",
    "end_of",
    "mask_of",
    "persistent_grid",
    "share",
    "zero_rows",
]

_TILE_ROWS = tl.constexpr(TILE)
_MULTIPROCESSORS = 132  # an H100's; elsewhere programs wait or some multiprocessors stay empty
WARPS = 4  # warps of each program
_MOST_CHANNELS = 128  # the most channels of a program: 256 bytes of a bfloat16 row


class PersistentGrid(NamedTuple):
    """A grid and the tile of its programs."""

    grid: tuple[int, int]  # programs along rows and along channels
    rows: int  # rows of a tile
    channels: int  # channels of a tile


def persistent_grid(x: Tensor, steps: int, resident: int) -> PersistentGrid:
    """Return how to walk over the rows of x (N, C), of which a device may use fewer.

    Args:
        x: Only its shape and dtype count.
        steps: How many times 16 bytes of x make a thread's part of a tile.
        resident: Programs that a multiprocessor has room for at once.
    """
    return _cut(*x.shape, x.dtype.itemsize, steps, _MULTIPROCESSORS * resident)


@lru_cache
def _cut(rows: int, channels: int, itemsize: int, steps: int, most: int) -> PersistentGrid:
    vector = 16 // itemsize
    width = min(_MOST_CHANNELS, max(next_power_of_2(channels), vector))
    height = 32 * WARPS * vector // width * steps
    blocks = cdiv(channels, width)
    programs = min(cdiv(rows, height), max(most // blocks, 1))
    return PersistentGrid((programs, blocks), height, width)


@triton.jit
def share(count, parts, ROWS: tl.constexpr):
    """Return how many rows, in whole tiles of ROWS, each part but the last ones has."""
    return tl.cdiv(tl.cdiv(count, tl.maximum(parts, 1)), ROWS) * ROWS


@triton.jit
def mask_of(rows, c, CHANNELS: tl.constexpr, BLOCK_C: tl.constexpr):
    """Return the mask of a tile: the rows' mask, and channels below CHANNELS."""
    if CHANNELS % BLOCK_C == 0:
        return tl.broadcast_to(rows[:, None], (rows.shape[0], BLOCK_C))
    else:
        return rows[:, None] & (c < CHANNELS)[None, :]


@triton.jit
def zero_rows(
    out, begin, end, c, CHANNELS: tl.constexpr, ROWS: tl.constexpr, BLOCK_C: tl.constexpr
):
    """Store zero in rows begin to end, shared by the programs of the grid's first axis."""
    lane = tl.arange(0, ROWS)
    at = lane[:, None] * CHANNELS + c[None, :]
    nothing = tl.zeros((ROWS, BLOCK_C), out.dtype.element_ty)
    for tile in range(tl.program_id(0), tl.cdiv(end - begin, ROWS), tl.num_programs(0)):
        row = begin + tile * ROWS
        mask = mask_of(lane < end - row, c, CHANNELS, BLOCK_C)
        tl.store(out + tl.cast(row, tl.int64) * CHANNELS + at, nothing, mask=mask)


@triton.jit
def end_of(count, rows, FILL: tl.constexpr):
    """Return the row before which a pass writes zeros: the end of a tile, or of all rows."""
    if FILL == "tile":
        return tl.minimum(tl.cdiv(count, _TILE_ROWS) * _TILE_ROWS, rows)
    else:
        return rows
