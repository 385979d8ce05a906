"""y[t] = max over the active sites s of the 2 x 2 window t of x[s]; t is active if any s is.

An odd last row or column is dropped. NaN is the greatest; the first of equals wins.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SparseMaxPool2d(NamedTuple):
    """The arguments of `sparse_max_pool2d`."""

    features: Tensor  # (N, C)
    sites: Tensor  # (N,)
    offsets: Tensor  # (F + 1,)
    height: int
    width: int
    trim: bool  # return no padding rows, so that M depends on values


class SparseMaxPool2dResult(NamedTuple):
    """The results of `sparse_max_pool2d`: M rows."""

    features: Tensor  # (M, C), zero in padding
    sites: Tensor  # (M,), of maps of half the height and width
    offsets: Tensor  # (F + 1,)
    argmax: Tensor  # (M, C) int32, the input row of each maximum; -1 in padding


class SparseMaxPool2dBackward(NamedTuple):
    """The arguments of `sparse_max_pool2d_backward`."""

    grad_out: Tensor  # (M, C)
    argmax: Tensor  # (M, C), as the forward pass returned it
    rows: int  # N


def sparse_max_pool2d(a: SparseMaxPool2d) -> SparseMaxPool2dResult:
    """Take the maximum over each window's active sites."""
    rows, frames = a.features.shape[0], a.offsets.shape[0] - 1
    size = (a.height // 2) * (a.width // 2)
    corners = _corners(a)  # (F * size, 4), row or N
    active = (corners < rows).any(dim=1)

    before = torch.cat([a.offsets.new_zeros(1), active.cumsum(0, dtype=torch.int32)])
    out_offsets = before[::size].clone()
    out_rows = int(out_offsets[-1]) if a.trim else min(rows, frames * size)
    # Stream compaction: an active window scatters its number to its row, all others to a spare.
    compacted = torch.where(active, before[:-1], out_rows).long()
    number = torch.arange(frames * size, device=a.features.device)
    window = torch.full((out_rows + 1,), frames * size, device=a.features.device)
    window = window.scatter(0, compacted, number)[:-1]  # F * size: padding
    corners = torch.cat([corners, corners.new_full((1, 4), rows)])[window]

    x = torch.cat([a.features, a.features.new_zeros(1, a.features.shape[1])])
    best = a.features.new_zeros(out_rows, a.features.shape[1])
    argmax = torch.full_like(best, -1, dtype=torch.int32)
    for corner in corners.unbind(1):  # in site order
        value, there = x[corner], (corner < rows)[:, None]
        better = (value > best) | (value.isnan() & ~best.isnan()) | (argmax < 0)
        best = torch.where(there & better, value, best)
        argmax = torch.where(there & better, corner[:, None].to(torch.int32), argmax)
    out_sites = torch.where(window < frames * size, window % size, 0)
    return SparseMaxPool2dResult(best, out_sites.to(torch.int32), out_offsets, argmax)


def sparse_max_pool2d_backward(a: SparseMaxPool2dBackward) -> Tensor:
    """Return the gradient of features, (rows, C): each output's gradient goes to its maximum."""
    grad = a.grad_out.new_zeros(a.rows + 1, a.grad_out.shape[1])  # the last row: padding
    target = torch.where(a.argmax >= 0, a.argmax, a.rows).long()
    return grad.scatter(0, target, a.grad_out)[:-1]


def _corners(a: SparseMaxPool2d) -> Tensor:
    """Return the rows in each window, in site order; N where a site is inactive."""
    rows, frames = a.sites.shape[0], a.offsets.shape[0] - 1
    row = torch.arange(rows, device=a.sites.device)
    frame = torch.bucketize(row, a.offsets[1:].long(), right=True)  # padding rows: frame F
    real = row < a.offsets[-1]
    sites = torch.where(real, a.sites, 0)
    table = torch.full((frames + 1, a.height, a.width), rows, device=sites.device)
    table[frame, sites // a.width, sites % a.width] = torch.where(real, row, rows)
    down, across = a.height // 2, a.width // 2
    windows = table[:frames, : 2 * down, : 2 * across].reshape(frames, down, 2, across, 2)
    return windows.permute(0, 1, 3, 2, 4).reshape(frames * down * across, 4)
