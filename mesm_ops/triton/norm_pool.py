# mypy: allow-untyped-defs
"""A norm, its ReLU and the pooling after it in one pass over the rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["fold_norm", "norm_pool"]

_ROWS, _BLOCK_C = 32, 64


def fold_norm(
    weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a norm as scale * x + shift, and its mean and variance, (C,) float32 all."""
    channels = weight.shape[0]
    scale, shift, mean_out, var_out = (
        weight.new_empty(channels, dtype=torch.float32) for _ in range(4)
    )
    _fold_norm_kernel[(triton.cdiv(channels, 128),)](
        weight, bias, mean, var, scale, shift, mean_out, var_out, channels, eps, 128
    )
    return scale, shift, mean_out, var_out


def norm_pool(
    y: Tensor,
    sites: Tensor,
    table: Tensor,
    first_rows: Tensor,
    width: int,
    scale: Tensor,
    shift: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Return the maximum of max(scale * y + shift, 0) over each window's active sites.

    Args:
        y: (N, C).
        sites: (N,) int32.
        table: (N, 9) int32, as `neighbour_table` returns it.
        first_rows: (M,) int32, of each window its first active row; -1: padding.
        width: Of the maps.
        scale: (C,) float32.
        shift: (C,) float32.
        keep: Whether to return where the maxima were.

    Returns:
        (M, C) in y's dtype, zero in padding, and its rows of y, (M, C) int32, -1 in padding; the
        first of equals; empty unless kept.
    """
    windows, channels = first_rows.shape[0], y.shape[1]
    out = y.new_empty(windows, channels)
    argmax = first_rows.new_empty((windows, channels) if keep else (0,))
    if windows:
        _norm_pool_kernel[(triton.cdiv(windows, _ROWS), triton.cdiv(channels, _BLOCK_C))](
            *(y, sites, table, first_rows, scale, shift, out, argmax),
            *(windows, width, channels, keep, _ROWS, _BLOCK_C),
        )
    return out, argmax


@triton.jit
def _fold_norm_kernel(
    weight, bias, mean, var, scale, shift, mean_out, var_out, channels, eps, BLOCK: tl.constexpr
):
    c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = c < channels
    middle = tl.load(mean + c, mask=there, other=0.0).to(tl.float32)
    spread = tl.load(var + c, mask=there, other=1.0).to(tl.float32)
    factor = tl.load(weight + c, mask=there, other=0.0).to(tl.float32)
    factor = factor / tl.sqrt_rn(spread + eps)
    added = tl.load(bias + c, mask=there, other=0.0).to(tl.float32)
    tl.store(scale + c, factor, mask=there)
    tl.store(shift + c, added - middle * factor, mask=there)
    tl.store(mean_out + c, middle, mask=there)
    tl.store(var_out + c, spread, mask=there)


@triton.jit
def _value(y, row, there, c, channels, factor, added):
    """Return max(scale * y + shift, 0) of a row for each window, rounded as it would be stored."""
    mask = there[:, None] & (c < channels)[None, :]
    x = tl.load(y + row[:, None].to(tl.int64) * channels + c[None, :], mask=mask, other=0.0)
    wide = x.to(tl.float32) * factor[None, :] + added[None, :]
    wide = tl.where(wide <= 0, 0.0, wide)  # NaN stays
    return wide.to(x.dtype).to(tl.float32)


@triton.jit(do_not_specialize=["windows", "width"])
def _norm_pool_kernel(
    y,
    sites,
    table,
    first_rows,
    scale,
    shift,
    out,
    argmax,
    windows,
    width,
    channels,
    KEEP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    window = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    factor = tl.load(scale + c, mask=c < channels, other=0.0)
    added = tl.load(shift + c, mask=c < channels, other=0.0)
    first = tl.load(first_rows + window, mask=window < windows, other=-1)
    real = first >= 0
    site = tl.load(sites + first, mask=real, other=0)
    corner = site // width % 2 * 2 + site % width % 2  # of the window, that the first row is in
    best = tl.where(real[:, None], _value(y, first, real, c, channels, factor, added), 0.0)
    where = tl.broadcast_to(first[:, None], (ROWS, BLOCK_C))
    for other in tl.static_range(1, 4):
        # From corner (j, i) to (l, k): column (l - j + 1) * 3 + k - i + 1 of the table.
        column = (other // 2 - corner // 2 + 1) * 3 + other % 2 - corner % 2 + 1
        asked = real & (corner < other)
        row = tl.load(table + first.to(tl.int64) * 9 + column, mask=asked, other=-1)
        there = row >= 0
        value = _value(y, row, there, c, channels, factor, added)
        better = there[:, None] & ((value > best) | ((value != value) & (best == best)))
        best = tl.where(better, value, best)
        where = tl.where(better, tl.broadcast_to(row[:, None], (ROWS, BLOCK_C)), where)
    mask = (window < windows)[:, None] & (c < channels)[None, :]
    at = window[:, None] * channels + c[None, :]
    tl.store(out + at, best.to(out.dtype.element_ty), mask=mask)
    if KEEP:
        tl.store(argmax + at, where, mask=mask)
