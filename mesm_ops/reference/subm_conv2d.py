"""y[s] = bias + sum over offsets o with s + o active of W[:, :, o] @ x[s + o], s active.

Submanifold convolution, 3 x 3 (Graham and van der Maaten, 2017).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def subm_conv2d(
    features: Tensor,  # (N, Cin)
    sites: Tensor,  # (N,)
    offsets: Tensor,  # (F + 1,)
    height: int,
    width: int,
    weight: Tensor,  # (Cout, Cin, 3, 3)
    bias: Tensor | None,  # (Cout,)
) -> Tensor:
    """Return the features (N, Cout), zero in padding."""
    wide = torch.promote_types(features.dtype, torch.float32)
    x, w = _with_zero_row(features, wide), weight.to(wide)
    out = x.new_zeros(features.shape[0], weight.shape[0])
    for i, j, neighbour in _neighbours(sites, offsets, height, width):
        out = out + x[neighbour] @ w[:, :, i, j].T
    if bias is not None:
        out = out + bias.to(wide)
    return torch.where(_real(sites, offsets)[:, None], out, 0).to(features.dtype)


def subm_conv2d_backward(
    grad_out: Tensor,  # (N, Cout)
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    weight: Tensor,
    needs_features: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of features, weight and bias; (0,) for one that is not needed."""
    wide = torch.promote_types(features.dtype, torch.float32)
    real = _real(sites, offsets)[:, None]
    grad = torch.where(real, grad_out, 0).to(wide)
    x, g, w = _with_zero_row(features, wide), _with_zero_row(grad, wide), weight.to(wide)

    grad_features = x.new_zeros(features.shape if needs_features else 0)
    grad_weight = x.new_zeros(weight.shape if needs_weight else 0)
    for i, j, neighbour in _neighbours(sites, offsets, height, width):
        if needs_features:  # row s + o got W[:, :, o] from s, so s gets W[:, :, -o] from s + o
            grad_features = grad_features + g[neighbour] @ w[:, :, 2 - i, 2 - j]
        if needs_weight:
            grad_weight[:, :, i, j] = grad.T @ x[neighbour]
    if needs_features:
        grad_features = torch.where(real, grad_features, 0)
    grad_bias = grad.sum(0) if needs_bias else x.new_zeros(0)
    return (
        grad_features.to(features.dtype),
        grad_weight.to(weight.dtype),
        grad_bias.to(weight.dtype),
    )


def _neighbours(
    sites: Tensor, offsets: Tensor, height: int, width: int
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield each offset as (i, j) = (dy + 1, dx + 1), with the row at s + o, or N if inactive."""
    rows = sites.shape[0]
    row = torch.arange(rows, device=sites.device)
    frame = torch.bucketize(row, offsets[1:].long(), right=True)  # padding rows: frame F
    real = row < offsets[-1]
    sites = torch.where(real, sites, 0)
    y, x = sites // width, sites % width
    table = torch.full((offsets.shape[0], height + 2, width + 2), rows, device=sites.device)
    table[frame, y + 1, x + 1] = torch.where(real, row, rows)
    for i in range(3):
        for j in range(3):
            yield i, j, table[frame, y + i, x + j]


def _with_zero_row(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Append a zero row: row N, what an inactive neighbour contributes."""
    return torch.cat([features, features.new_zeros(1, features.shape[1])]).to(dtype)


def _real(sites: Tensor, offsets: Tensor) -> Tensor:
    return torch.arange(sites.shape[0], device=sites.device) < offsets[-1]
