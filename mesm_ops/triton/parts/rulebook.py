"""The rulebook of a set of sites: the neighbours of rows, in the order of the tiles.

Rows of like neighbours stand side by side, so that a tile can leave out the taps at which none of
its rows has a neighbour. A row's pattern is the set of taps at which the row has a neighbour, and
rows are sorted by pattern along a Gray code, fullest first, inside windows of frames: the rows of
tiles that run at the same time then stay in the GPU's cache.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ... import backends, extension
from .layout import TILE, tiles_of

__all__ = ["GRAY_BITS", "WINDOW_SITES", "Rulebook", "place_rows", "rulebook", "window_frames"]

MOST_SITES = 16_384  # the largest map that the CUDA kernels keep in shared memory
WINDOW_SITES = 131_072  # sites of the frames whose rows are sorted together
# The bit of a pattern's Gray code that stands for each tap. Corners are the first to be missing,
# then sides; the middle is always there. csrc/cuda has the same constant.
GRAY_BITS = (8, 4, 7, 3, 0, 2, 6, 1, 5)


class Rulebook(NamedTuple):
    """The neighbours of rows, in the format that the convolutions read."""

    lists: Tensor  # (T, 9, TILE) int32: per tap the neighbours of a tile's rows, -1: none
    masks: Tensor  # (T,) int32: bit o is set if any row of the tile has tap o
    number: Tensor  # (1,) int32: how many rows there are; tiles without rows are not read
    order: Tensor | None  # (T * TILE,) int32: the row at each position; None: rows lie in order


def window_frames(height: int, width: int) -> int:
    """Return the rows of how many frames are sorted together."""
    return max(1, WINDOW_SITES // max(1, height * width))


def place_rows(
    sites: Tensor, offsets: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each row's position, and the rulebook's lists and masks, by torch's own operations.

    Args:
        sites: (N,) int32, ascending in each frame.
        offsets: (F + 1,) int32.
        height: Height of the maps.
        width: Width of the maps.

    Returns:
        (N,) int32, padding rows behind the others; (T, 9, TILE) int32 positions; (T,) int32.
    """
    rows, frames, device = sites.shape[0], offsets.shape[0] - 1, sites.device
    tiles = tiles_of(rows)
    row = torch.arange(rows, device=device)
    frame = torch.bucketize(row, offsets[1:].long(), right=True)
    real = frame < frames
    y, x = sites.long() // width, sites.long() % width
    # A margin of inactive sites around each map: a neighbour beyond the edge reads as none.
    at = (frame * (height + 2) + y + 1) * (width + 2) + x + 1
    spare = frames * (height + 2) * (width + 2)
    at = torch.where(real, at, spare)
    row_at = torch.full((spare + 1,), -1, dtype=torch.int64, device=device)
    row_at = row_at.scatter(0, at, torch.where(real, row, -1))
    step = torch.arange(3, device=device) - 1
    shift = (step[:, None] * (width + 2) + step[None, :]).reshape(9)
    near = torch.where(real[:, None], at[:, None] + shift, spare)
    neighbour = row_at[near]  # (N, 9)
    has = (neighbour >= 0).long()
    # No tensor of bits: to copy one to a GPU would make the host wait.
    code = sum((has[:, tap] << bit for tap, bit in enumerate(GRAY_BITS)), torch.zeros_like(row))
    for distance in (1, 2, 4, 8):  # a pattern's place in the Gray code
        code = code ^ (code >> distance)
    window = frame // window_frames(height, width)
    last = (frames + 1) * 512
    key = torch.where(real, window * 512 + 511 - code, last)
    order = key.argsort(stable=True)
    place = torch.empty_like(order).scatter(0, order, row)
    lists = torch.full((tiles * TILE, 9), -1, dtype=torch.int64, device=device)
    found = torch.where(neighbour >= 0, place[neighbour.clamp(min=0)], -1) if rows else neighbour
    lists[:rows] = found[order]
    lists = lists.view(tiles, TILE, 9).transpose(1, 2)
    masks = ((lists >= 0).any(2).long() << torch.arange(9, device=device)).sum(1)
    return place.int(), lists.int().contiguous(), masks.int()


def rulebook(sites: Tensor, offsets: Tensor, height: int, width: int) -> Rulebook:
    """Return the rulebook of rows that are not reordered: its lists hold rows.

    Args:
        sites: (N,) int32, ascending in each frame.
        offsets: (F + 1,) int32.
        height: Height of the maps.
        width: Width of the maps.
    """
    rows, number = sites.shape[0], offsets[-1:]
    tiles = tiles_of(rows)
    if has_cuda_kernels(sites, height, width):
        lists, masks = sites.new_empty(tiles, 9, TILE), sites.new_empty(tiles)
        order = sites.new_empty(tiles * TILE)
        scratch = scratch_of(sites, offsets.shape[0] - 1, height, width)
        torch.ops.mesm_ops_cuda.place(
            sites, offsets, height, width, False, order, lists, masks, scratch
        )
        return Rulebook(lists, masks, number, order)
    place, lists, masks = place_rows(sites, offsets, height, width)
    row = torch.arange(rows, device=place.device, dtype=torch.int32)
    order = torch.empty_like(place).scatter(0, place.long(), row)
    order = torch.nn.functional.pad(order, (0, tiles * TILE - rows))
    lists = torch.where(lists >= 0, order[lists.clamp(min=0).long()], -1)
    return Rulebook(lists.contiguous(), masks, number, order)


def has_cuda_kernels(sites: Tensor, height: int, width: int) -> bool:
    """Return whether the CUDA kernels can place rows of such maps.

    Args:
        sites: (N,) int32, whose device decides.
        height: Height of the maps.
        width: Width of the maps.
    """
    return (
        sites.is_cuda
        and height * width <= MOST_SITES
        and extension.cuda_missing() is None
        and backends.requested() != "reference"
    )


_scratch_sizes: dict[tuple[int, ...], int] = {}


def scratch_of(sites: Tensor, frames: int, height: int, width: int) -> Tensor:
    """Return memory in which the CUDA kernels hand values from launch to launch, int32.

    Args:
        sites: (N,) int32, on the wanted device.
        frames: How many frames there are.
        height: Height of the maps.
        width: Width of the maps.
    """
    key = (sites.shape[0], frames, height, width)
    size = _scratch_sizes.get(key)
    if size is None:
        if len(_scratch_sizes) >= 1024:  # sizes change from batch to batch
            _scratch_sizes.clear()
        size = torch.ops.mesm_ops_cuda.place_scratch(sites, frames, height, width)
        _scratch_sizes[key] = size
    return sites.new_empty(size)
