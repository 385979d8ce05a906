"""y[t] = max over the active sites s of the 2 x 2 window t of x[s]; t is active if any s is.

An odd last row or column is dropped. NaN is the greatest; the first of equals wins.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sparse_max_pool2d(
    features: Tensor,  # (N, C)
    sites: Tensor,  # (N,)
    offsets: Tensor,  # (F + 1,)
    height: int,
    width: int,
    trim: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features, sites, offsets and the input row of each maximum, (N_out, C) int32."""
    rows, frames, size = features.shape[0], offsets.shape[0] - 1, (height // 2) * (width // 2)
    corners = _corners(sites, offsets, height, width)  # (F * size, 4), row or N
    active = (corners < rows).any(dim=1)

    before = torch.cat([offsets.new_zeros(1), active.cumsum(0, dtype=torch.int32)])
    out_offsets = before[::size].clone()
    out_rows = int(out_offsets[-1]) if trim else min(rows, frames * size)
    # Each active window writes its number at its place; all others write to one spare place.
    place = torch.where(active, before[:-1], out_rows).long()
    number = torch.arange(frames * size, device=features.device)
    window = torch.full((out_rows + 1,), frames * size, device=features.device)
    window = window.scatter(0, place, number)[:-1]  # F * size: padding
    corners = torch.cat([corners, corners.new_full((1, 4), rows)])[window]

    x = torch.cat([features, features.new_zeros(1, features.shape[1])])
    best = features.new_zeros(out_rows, features.shape[1])
    argmax = torch.full_like(best, -1, dtype=torch.int32)
    for corner in corners.unbind(1):  # in site order
        value, there = x[corner], (corner < rows)[:, None]
        better = (value > best) | (value.isnan() & ~best.isnan()) | (argmax < 0)
        best = torch.where(there & better, value, best)
        argmax = torch.where(there & better, corner[:, None].to(torch.int32), argmax)
    out_sites = torch.where(window < frames * size, window % size, 0)
    return best, out_sites.to(torch.int32), out_offsets, argmax


def sparse_max_pool2d_backward(grad_out: Tensor, argmax: Tensor, rows: int) -> Tensor:
    """Return the gradient of features, (rows, C): each output's goes to its maximum."""
    grad = grad_out.new_zeros(rows + 1, grad_out.shape[1])  # the last row takes the padding's
    target = torch.where(argmax >= 0, argmax, rows).long()
    return grad.scatter(0, target, grad_out)[:-1]


def _corners(sites: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """Return the rows in each window, in site order; N where a site is inactive."""
    rows, frames = sites.shape[0], offsets.shape[0] - 1
    row = torch.arange(rows, device=sites.device)
    frame = torch.bucketize(row, offsets[1:].long(), right=True)  # padding rows: frame F
    real = row < offsets[-1]
    sites = torch.where(real, sites, 0)
    table = torch.full((frames + 1, height, width), rows, device=sites.device)
    table[frame, sites // width, sites % width] = torch.where(real, row, rows)
    down, across = height // 2, width // 2
    windows = table[:frames, : 2 * down, : 2 * across].reshape(frames, down, 2, across, 2)
    return windows.permute(0, 1, 3, 2, 4).reshape(frames * down * across, 4)
