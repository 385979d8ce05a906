"""The block's selection: which rows are kept, and the position of each kept row.

On a GPU with the CUDA kernels the selection is one call and three launches. Elsewhere
`top_p_select` and torch's own operations do the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ... import backends
from ...reference import Selection, TopPSelect, TopPSelectResult
from .launch import call
from .rulebook import has_cuda_kernels, place_rows, scratch_of

__all__ = ["Selected", "select_and_place"]


class Selected(NamedTuple):
    """The results of the selection, K being the number of kept rows and T tiles of all rows."""

    attention: Tensor  # (N,) float32: zero in padding
    rows: Tensor  # (N,) int32: the candidate row of each kept row; -1 in padding
    kept_offsets: Tensor  # (F + 1,) int32
    place: Tensor  # (N,) int32: the position of each kept row
    lists: Tensor  # (T, 9, TILE) int32, as in `Rulebook`
    masks: Tensor  # (T,) int32, likewise
    x: Tensor  # (T * TILE, C): features of the kept rows, by position
    windows: Tensor  # (P, 4) int32: positions of the rows of each window of the pool; -1: none
    window_of: Tensor  # (T * TILE,) int32: per position 4 * window + slot in the window, or -1
    out_sites: Tensor  # (P,) int32: the sites of the windows; zero in padding
    out_offsets: Tensor  # (F + 1,) int32


def select_and_place(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    logits: Tensor,
    height: int,
    width: int,
    p: float,
    selection: Selection,
    to: Selected,
) -> None:
    """Keep the nucleus of each frame, and put its rows into the order of the tiles.

    Args:
        features: (N, C).
        sites: (N,) int32.
        offsets: (F + 1,) int32.
        logits: (N,) float32.
        height: Height of the maps.
        width: Width of the maps.
        p: The share of the attention to keep, in (0, 1].
        selection: Whether features are scaled.
        to: The results, all written.
    """
    if has_cuda_kernels(sites, height, width):
        scratch = scratch_of(sites, offsets.shape[0] - 1, height, width)
        maps = (features, sites, offsets, logits, height, width)
        kernels = torch.ops.mesm_ops_cuda.select_and_place
        call(kernels, *maps, p, selection.scales, *to, scratch)
        return
    call(_by_torch, features, sites, offsets, logits, height, width, p, selection, *to)


def _by_torch(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    logits: Tensor,
    height: int,
    width: int,
    p: float,
    selection: Selection,
    *results: Tensor,
) -> None:
    to = Selected(*results)
    with backends.use_backend("auto"):
        given = TopPSelect(features, sites, offsets, logits, p, selection, False)
        kept = TopPSelectResult(*backends.run("top_p_select", given))
    to.attention.copy_(kept.attention)
    to.rows.copy_(kept.rows)
    to.kept_offsets.copy_(kept.offsets)
    place, lists, masks = place_rows(kept.sites, kept.offsets, height, width)
    to.place.copy_(place)
    to.lists.copy_(lists)
    to.masks.copy_(masks)
    to.x.index_copy_(0, place.long(), kept.features)
    _place_windows(kept.sites, kept.offsets, place, height, width, to)


def _place_windows(
    sites: Tensor, offsets: Tensor, place: Tensor, height: int, width: int, to: Selected
) -> None:
    """Write which rows each window of the pool has; arguments as in `place_rows`."""
    frames, device = offsets.shape[0] - 1, sites.device
    row = torch.arange(sites.shape[0], device=device)
    frame = torch.bucketize(row, offsets[1:].long(), right=True)
    y, x = sites.long() // width, sites.long() % width
    high, wide = height // 2, width // 2
    pooled = (frame < frames) & (y < 2 * high) & (x < 2 * wide)
    spare = frames * high * wide
    cell = torch.where(pooled, (frame * high + y // 2) * wide + x // 2, spare)
    active = torch.zeros(spare + 1, dtype=torch.bool, device=device).index_fill(0, cell, True)
    before = active[:spare].cumsum(0)
    to.out_offsets.zero_()
    if high and wide:
        to.out_offsets[1:] = before.view(frames, high * wide)[:, -1]
    number = torch.nn.functional.pad(before - 1, (0, 1))
    slot = y % 2 * 2 + x % 2
    at = torch.where(pooled, number[cell] * 4 + slot, -1)
    to.window_of.fill_(-1).index_copy_(0, place.long(), at.int())
    windows = to.windows.new_full((to.windows.shape[0] * 4 + 1,), -1)
    windows = windows.scatter(0, torch.where(pooled, at, len(windows) - 1), place)
    to.windows.copy_(windows[:-1].view(-1, 4))
    cells = torch.arange(spare, device=device)
    out = to.out_sites.new_zeros(to.out_sites.shape[0] + 1)
    target = torch.where(active[:spare], number[:spare], len(out) - 1)
    site = (cells % max(high * wide, 1)).int()
    to.out_sites.copy_(out.scatter(0, target, site)[:-1])
