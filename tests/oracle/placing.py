"""An independent statement of where `mesm_ops_cuda`'s placing kernels put rows, in plain torch.

A row's key is the place of its neighbours' set in the Gray code of `tests.oracle`, fullest first;
rows are sorted by key inside spans of frames.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tests.oracle import FIRST_TO_MISS, PLACES

TILE_ROWS = 128
KEYS = torch.zeros(512, dtype=torch.int64)
for _word, _place in PLACES.items():
    KEYS[sum(1 << tap for tap, has in zip(FIRST_TO_MISS, _word, strict=True) if has)] = 511 - _place


class Placed(NamedTuple):
    """Where the rows of a set of sites are put."""

    neighbours: Tensor  # (K, 9): the row at each neighbouring site, -1 if there is none
    place: Tensor  # (K,): the position of each row
    lists: Tensor  # (tiles, 9, TILE_ROWS): the position of each neighbour, by position; else -1
    masks: Tensor  # (tiles,)


class Pooled(NamedTuple):
    """The active windows of a 2x2 pool, in order."""

    windows: Tensor  # (W, 4): positions of their rows, -1 if there is none
    window_of: Tensor  # (K,): of each position, 4 times the window plus where in it, or -1
    sites: Tensor  # (W,)
    offsets: Tensor  # (F + 1,)


def frames_of(offsets: Tensor) -> Tensor:
    """Return the frame of each row."""
    return torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff().long())


def dense(values: Tensor, sites: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """Return a map of each row's value, (F, height + 2, width + 2), -1 elsewhere and around."""
    maps = torch.full((len(offsets) - 1, height + 2, width + 2), -1, dtype=torch.int64)
    sites = sites.long()
    maps[frames_of(offsets), sites // width + 1, sites % width + 1] = values
    return maps


def place(sites: Tensor, offsets: Tensor, height: int, width: int, span_frames: int) -> Placed:
    """Place the rows of some sites, (K,); none is padding."""
    rows, frame = len(sites), frames_of(offsets)
    maps = dense(torch.arange(rows), sites, offsets, height, width)
    y, x = sites.long() // width, sites.long() % width
    steps = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2)]
    neighbours = torch.stack([maps[frame, y + dy, x + dx] for dy, dx in steps], 1)
    patterns = ((neighbours >= 0).long() << torch.arange(9)).sum(1)
    order = (frame // span_frames * 512 + KEYS[patterns]).sort(stable=True).indices
    place = torch.empty(rows, dtype=torch.int64)
    place[order] = torch.arange(rows)

    tiles = -(-rows // TILE_ROWS)
    lists = torch.full((tiles * TILE_ROWS, 9), -1)
    lists[place] = torch.where(neighbours >= 0, place[neighbours.clamp(min=0)], -1)
    lists = lists.view(tiles, TILE_ROWS, 9).transpose(1, 2)
    masks = ((lists >= 0).any(2).long() << torch.arange(9)).sum(1)
    return Placed(neighbours, place, lists, masks)


def pool(place: Tensor, sites: Tensor, offsets: Tensor, height: int, width: int) -> Pooled:
    """Find the active windows of rows whose positions are known."""
    maps = dense(place, sites, offsets, height, width)[:, 1 : height + 1, 1 : width + 1]
    high, wide = height // 2, width // 2
    even = maps[:, : 2 * high, : 2 * wide].reshape(len(maps), high, 2, wide, 2)
    every = even.permute(0, 1, 3, 2, 4).reshape(len(maps), high * wide, 4)
    active = (every >= 0).any(2)
    windows, found = every[active], active.nonzero()[:, 1]
    window_of = torch.full((len(place),), -1)
    row, slot = (windows >= 0).nonzero().T
    window_of[windows[row, slot]] = 4 * row + slot
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), active.sum(1).cumsum(0)])
    return Pooled(windows, window_of, found, ends)
