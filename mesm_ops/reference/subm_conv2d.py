"""y[s] = bias + sum over taps o with s + o active of W[:, :, o] @ x[s + o], s active.

Submanifold convolution, 3 x 3 (Graham and van der Maaten, 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class SubmConv2d(NamedTuple):
    """The arguments of `subm_conv2d`."""

    features: Tensor  # (N, Cin)
    sites: Tensor  # (N,)
    offsets: Tensor  # (F + 1,)
    height: int
    width: int
    weight: Tensor  # (Cout, Cin, 3, 3)
    bias: Tensor | None  # (Cout,)


class SubmConv2dBackward(NamedTuple):
    """The arguments of `subm_conv2d_backward`."""

    grad_out: Tensor  # (N, Cout)
    features: Tensor  # (N, Cin)
    sites: Tensor  # (N,)
    offsets: Tensor  # (F + 1,)
    height: int
    width: int
    weight: Tensor  # (Cout, Cin, 3, 3)
    needs_features: bool
    needs_weight: bool
    needs_bias: bool


class SubmConv2dGradients(NamedTuple):
    """The gradients of the arguments of these names; (0,) where a gradient is not needed."""

    features: Tensor  # (N, Cin)
    weight: Tensor  # (Cout, Cin, 3, 3)
    bias: Tensor  # (Cout,), the weight's dtype


def subm_conv2d(a: SubmConv2d) -> Tensor:
    """Return the features (N, Cout), zero in padding."""
    wide = torch.promote_types(a.features.dtype, torch.float32)
    x, w = _with_zero_row(a.features, wide), a.weight.to(wide)
    out = x.new_zeros(a.features.shape[0], a.weight.shape[0])
    for i, j, neighbour in _neighbours(a):
        out = out + _of_active(neighbour, x[neighbour] @ w[:, :, i, j].T)
    if a.bias is not None:
        out = out + a.bias.to(wide)
    return torch.where(_real(a)[:, None], out, 0).to(a.features.dtype)


def subm_conv2d_backward(a: SubmConv2dBackward) -> SubmConv2dGradients:
    """Return the gradients; padding rows take no part in them."""
    wide = torch.promote_types(a.features.dtype, torch.float32)
    real = _real(a)[:, None]
    grad = torch.where(real, a.grad_out, 0).to(wide)
    x, g, w = _with_zero_row(a.features, wide), _with_zero_row(grad, wide), a.weight.to(wide)

    grad_features = x.new_zeros(a.features.shape if a.needs_features else 0)
    grad_weight = x.new_zeros(a.weight.shape if a.needs_weight else 0)
    for i, j, neighbour in _neighbours(a):
        if a.needs_features:  # row s + o got W[:, :, o] from s, so s gets W[:, :, -o] from s + o
            added = g[neighbour] @ w[:, :, 2 - i, 2 - j]
            grad_features = grad_features + _of_active(neighbour, added)
        if a.needs_weight:
            grad_weight[:, :, i, j] = _of_active(neighbour, grad).T @ x[neighbour]
    if a.needs_features:
        grad_features = torch.where(real, grad_features, 0)
    grad_bias = grad.sum(0) if a.needs_bias else x.new_zeros(0)
    return SubmConv2dGradients(
        features=grad_features.to(a.features.dtype),
        weight=grad_weight.to(a.weight.dtype),
        bias=grad_bias.to(a.weight.dtype),
    )


def _neighbours(a: SubmConv2d | SubmConv2dBackward) -> Iterator[tuple[int, int, Tensor]]:
    """Yield each tap o as (i, j) = (dy + 1, dx + 1), with the row at s + o, or N if inactive."""
    rows = a.sites.shape[0]
    row = torch.arange(rows, device=a.sites.device)
    frame = torch.bucketize(row, a.offsets[1:].long(), right=True)  # padding rows: frame F
    real = row < a.offsets[-1]
    sites = torch.where(real, a.sites, 0)
    y, x = sites // a.width, sites % a.width
    shape = (a.offsets.shape[0], a.height + 2, a.width + 2)
    table = torch.full(shape, rows, device=sites.device)
    table[frame, y + 1, x + 1] = torch.where(real, row, rows)
    for i in range(3):
        for j in range(3):
            yield i, j, table[frame, y + i, x + j]


def _of_active(neighbour: Tensor, rows: Tensor) -> Tensor:
    """Return rows, zero where the neighbour is inactive: an infinite weight makes NaN of zeros."""
    return torch.where((neighbour < neighbour.shape[0])[:, None], rows, 0)


def _with_zero_row(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Append a zero row: row N, which an inactive neighbour contributes."""
    return torch.cat([features, features.new_zeros(1, features.shape[1])]).to(dtype)


def _real(a: SubmConv2d | SubmConv2dBackward) -> Tensor:
    return torch.arange(a.sites.shape[0], device=a.sites.device) < a.offsets[-1]
