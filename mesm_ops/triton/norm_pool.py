# mypy: allow-untyped-defs
"""A norm, its ReLU and the pooling after it in one pass over the rows; their gradient in two."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._reductions import TILE_ROWS, tiles_of, total

__all__ = ["fold_norm", "norm_pool", "norm_pool_backward"]

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
    row_windows: Tensor,
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
        row_windows: (N,) int32: if so, where the window of each row that is in one is left.

    Returns:
        (M, C) in y's dtype, zero in padding, and its rows of y, (M, C) int32, -1 in padding; the
        first of equals; empty unless kept.
    """
    windows, channels = first_rows.shape[0], y.shape[1]
    out = y.new_empty(windows, channels)
    argmax = first_rows.new_empty((windows, channels) if keep else (0,))
    if windows:
        _norm_pool_kernel[(triton.cdiv(windows, _ROWS), triton.cdiv(channels, _BLOCK_C))](
            *(y, sites, table, first_rows, scale, shift, out, argmax, row_windows),
            *(windows, width, channels, keep, _ROWS, _BLOCK_C),
        )
    return out, argmax


def norm_pool_backward(
    grad_out: Tensor,
    argmax: Tensor,
    y: Tensor,
    row_windows: Tensor,
    offsets: Tensor,
    out_offsets: Tensor,
    norm: tuple[Tensor, Tensor, Tensor, Tensor],
    training: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of y and of the norm's weight and bias.

    The gradient between pool and norm, which is zero at most rows, is not in memory.

    Args:
        grad_out: (M, C); padding is not read.
        argmax: (M, C) int32, as `norm_pool` returns it.
        y: (N, C).
        row_windows: (N,) int32, as `norm_pool` leaves it; -1: in no window.
        offsets: (F + 1,) int32, of y.
        out_offsets: (F + 1,) int32, of grad_out.
        norm: Its weight, bias, mean and variance, (C,).
        training: Whether mean and variance are those of y.
        eps: Added to the variance.
    """
    (windows, channels), rows, frames = grad_out.shape, y.shape[0], offsets.shape[0] - 1
    blocks = triton.cdiv(channels, _BLOCK_C)
    tile = {"CHANNELS": channels, "TILE_ROWS": TILE_ROWS, "BLOCK_C": _BLOCK_C, "num_warps": 8}
    tiles = tiles_of(windows)
    partial = y.new_empty((tiles, 2, channels), dtype=torch.float32)
    if tiles:
        _norm_pool_sums[(tiles, blocks)](
            grad_out, argmax, y, out_offsets, frames, *norm, partial, eps, **tile
        )
    of_weight, of_bias = total(partial, out_offsets)
    out = torch.empty_like(y)
    if rows:
        _norm_pool_gradient[(tiles_of(rows), blocks)](
            *(grad_out, argmax, y, row_windows, offsets, frames, *norm, of_weight, of_bias, out),
            *(rows, eps),
            TRAINING=training,
            **tile,
        )
    return out, of_weight.to(norm[0].dtype), of_bias.to(norm[1].dtype)


@triton.jit
def before_norm(
    g,  # (rows, channels) float32, after the ReLU
    x,  # likewise, what is normalised
    mask,  # likewise, what is real and inside
    channel,
    inside,
    weight,
    bias,
    mean,
    var,
    eps,
    RELU: tl.constexpr,
):
    """Return the gradient before the ReLU, the normalised rows, and 1 / deviation and weight."""
    middle = tl.load(mean + channel, mask=inside, other=0.0)
    scale = 1.0 / tl.sqrt_rn(tl.load(var + channel, mask=inside, other=0.0) + eps)
    w = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    normal = tl.where(mask, (x - middle[None, :]) * scale[None, :], 0.0)
    if RELU:
        b = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
        g = tl.where(normal * w[None, :] + b[None, :] <= 0, 0.0, g)
    return g, normal, scale, w


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
    row_windows,
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
    leaves = KEEP and tl.program_id(1) == 0
    if leaves:
        tl.store(row_windows + first, window.to(tl.int32), mask=real)
    for other in tl.static_range(1, 4):
        # From corner (j, i) to (l, k): column (l - j + 1) * 3 + k - i + 1 of the table.
        column = (other // 2 - corner // 2 + 1) * 3 + other % 2 - corner % 2 + 1
        asked = real & (corner < other)
        row = tl.load(table + first.to(tl.int64) * 9 + column, mask=asked, other=-1)
        there = row >= 0
        if leaves:
            tl.store(row_windows + row, window.to(tl.int32), mask=there)
        value = _value(y, row, there, c, channels, factor, added)
        better = there[:, None] & ((value > best) | ((value != value) & (best == best)))
        best = tl.where(better, value, best)
        where = tl.where(better, tl.broadcast_to(row[:, None], (ROWS, BLOCK_C)), where)
    mask = (window < windows)[:, None] & (c < channels)[None, :]
    at = window[:, None] * channels + c[None, :]
    tl.store(out + at, best.to(out.dtype.element_ty), mask=mask)
    if KEEP:
        tl.store(argmax + at, where, mask=mask)


@triton.jit
def _norm_pool_sums(
    grad_out,  # (M, C)
    argmax,  # (M, C)
    y,  # (N, C)
    out_offsets,  # (F + 1,)
    frames,
    weight,  # (C,)
    bias,
    mean,
    var,
    partial,  # (tiles, 2, C) float32: of weight and of bias
    eps,
    CHANNELS: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    tile = tl.program_id(0).to(tl.int64)
    window = tile * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < CHANNELS
    mask = (window < tl.load(out_offsets + frames))[:, None] & inside[None, :]
    at = window[:, None] * CHANNELS + channel[None, :]
    row = tl.load(argmax + at, mask=mask, other=-1)
    mask &= row >= 0
    g = tl.load(grad_out + at, mask=mask, other=0.0).to(tl.float32)
    x = tl.load(y + row.to(tl.int64) * CHANNELS + channel[None, :], mask=mask, other=0.0)
    g, normal, _, _ = before_norm(
        g, x.to(tl.float32), mask, channel, inside, weight, bias, mean, var, eps, True
    )
    at = partial + tile * (2 * CHANNELS) + channel
    tl.store(at, tl.sum(g * normal, 0), mask=inside)
    tl.store(at + CHANNELS, tl.sum(g, 0), mask=inside)


@triton.jit
def _norm_pool_gradient(
    grad_out,  # (M, C)
    argmax,  # (M, C)
    y,  # (N, C)
    row_windows,  # (N,)
    offsets,  # (F + 1,)
    frames,
    weight,  # (C,)
    bias,
    mean,
    var,
    of_weight,  # (C,) float32
    of_bias,
    out,  # (N, C)
    rows,
    eps,
    CHANNELS: tl.constexpr,
    TRAINING: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < CHANNELS
    count = tl.load(offsets + frames)
    real = row < count
    mask = real[:, None] & inside[None, :]
    window = tl.load(row_windows + row, mask=real, other=-1)
    at = window.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
    asked = (window >= 0)[:, None] & inside[None, :]
    best = tl.load(argmax + at, mask=asked, other=-1) == row[:, None]
    g = tl.load(grad_out + at, mask=asked & best, other=0.0).to(tl.float32)
    at = row[:, None] * CHANNELS + channel[None, :]
    x = tl.load(y + at, mask=mask, other=0.0).to(tl.float32)
    g, normal, scale, w = before_norm(
        g, x, mask, channel, inside, weight, bias, mean, var, eps, True
    )
    if TRAINING:
        active = tl.maximum(count, 1).to(tl.float32)
        by_weight = tl.load(of_weight + channel, mask=inside, other=0.0) / active
        by_bias = tl.load(of_bias + channel, mask=inside, other=0.0) / active
        g -= by_bias[None, :] + normal * by_weight[None, :]
    g = tl.where(mask, g * (scale * w)[None, :], 0.0).to(out.dtype.element_ty)
    tl.store(out + at, g, mask=(row < rows)[:, None] & inside[None, :])
