# mypy: allow-untyped-defs
"""sparse_batch_norm: statistics per tile of rows, then over the tiles, then the norm itself."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..reference import (
    SparseBatchNorm,
    SparseBatchNormBackward,
    SparseBatchNormGradients,
    SparseBatchNormResult,
)
from ._reductions import TILE_ROWS, combine, tile_statistics, tiles_of, total

__all__ = ["before_norm", "sparse_batch_norm", "sparse_batch_norm_backward"]

_BLOCK_C = 64  # 128 bytes of a bfloat16 row
_WARPS = 8  # 32 float32 values of a tile in each thread's registers


@triton.jit
def _statistics(
    features,  # (N, C)
    offsets,  # (F + 1,)
    frames,
    partial,  # (tiles, 2, C) float32
    CHANNELS: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    tile = tl.program_id(0).to(tl.int64)
    row = tile * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < CHANNELS
    real = row < tl.load(offsets + frames)
    at = features + row[:, None] * CHANNELS + channel[None, :]
    x = tl.load(at, mask=real[:, None] & inside[None, :], other=0.0).to(tl.float32)
    mean, squares = tile_statistics(x, real)
    at = partial + tile * (2 * CHANNELS) + channel
    tl.store(at, mean, mask=inside)
    tl.store(at + CHANNELS, squares, mask=inside)


@triton.jit
def _normalise(
    features,  # (N, C)
    offsets,  # (F + 1,)
    frames,
    weight,  # (C,)
    bias,
    mean,
    var,
    out,  # (N, C)
    mean_out,  # (C,) float32
    var_out,
    rows,
    eps,
    CHANNELS: tl.constexpr,
    COPY: tl.constexpr,  # mean and variance to mean_out and var_out
    RELU: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < CHANNELS
    middle = tl.load(mean + channel, mask=inside, other=0.0).to(tl.float32)
    spread = tl.load(var + channel, mask=inside, other=0.0).to(tl.float32)
    if COPY and tl.program_id(0) == 0:
        tl.store(mean_out + channel, middle, mask=inside)
        tl.store(var_out + channel, spread, mask=inside)
    factor = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    factor = factor / tl.sqrt_rn(spread + eps)
    added = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
    real = (row < tl.load(offsets + frames))[:, None]
    at = row[:, None] * CHANNELS + channel[None, :]
    x = tl.load(features + at, mask=real & inside[None, :], other=0.0).to(tl.float32)
    y = (x - middle[None, :]) * factor[None, :] + added[None, :]
    if RELU:
        y = tl.where(y <= 0, 0.0, y)  # NaN stays
    y = tl.where(real, y, 0.0).to(out.dtype.element_ty)
    tl.store(out + at, y, mask=(row < rows)[:, None] & inside[None, :])


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
def _gradient_sums(
    grad_out,  # (N, C)
    features,
    offsets,  # (F + 1,)
    frames,
    weight,  # (C,)
    bias,
    mean,  # (C,) float32
    var,
    partial,  # (tiles, 2, C) float32: of weight and of bias
    eps,
    CHANNELS: tl.constexpr,
    RELU: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    tile = tl.program_id(0).to(tl.int64)
    row = tile * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < CHANNELS
    mask = (row < tl.load(offsets + frames))[:, None] & inside[None, :]
    at = row[:, None] * CHANNELS + channel[None, :]
    g = tl.load(grad_out + at, mask=mask, other=0.0).to(tl.float32)
    x = tl.load(features + at, mask=mask, other=0.0).to(tl.float32)
    g, normal, _, _ = before_norm(g, x, mask, channel, inside, weight, bias, mean, var, eps, RELU)
    at = partial + tile * (2 * CHANNELS) + channel
    tl.store(at, tl.sum(g * normal, 0), mask=inside)
    tl.store(at + CHANNELS, tl.sum(g, 0), mask=inside)


@triton.jit
def _gradient(
    grad_out,  # (N, C)
    features,
    offsets,  # (F + 1,)
    frames,
    weight,  # (C,)
    bias,
    mean,  # (C,) float32
    var,
    of_weight,  # (C,) float32
    of_bias,
    out,  # (N, C)
    rows,
    eps,
    CHANNELS: tl.constexpr,
    TRAINING: tl.constexpr,
    RELU: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < CHANNELS
    count = tl.load(offsets + frames)
    mask = (row < count)[:, None] & inside[None, :]
    at = row[:, None] * CHANNELS + channel[None, :]
    g = tl.load(grad_out + at, mask=mask, other=0.0).to(tl.float32)
    x = tl.load(features + at, mask=mask, other=0.0).to(tl.float32)
    g, normal, scale, w = before_norm(
        g, x, mask, channel, inside, weight, bias, mean, var, eps, RELU
    )
    if TRAINING:
        active = tl.maximum(count, 1).to(tl.float32)
        by_weight = tl.load(of_weight + channel, mask=inside, other=0.0) / active
        by_bias = tl.load(of_bias + channel, mask=inside, other=0.0) / active
        g -= by_bias[None, :] + normal * by_weight[None, :]
    g = tl.where(mask, g * (scale * w)[None, :], 0.0).to(out.dtype.element_ty)
    tl.store(out + at, g, mask=(row < rows)[:, None] & inside[None, :])


def sparse_batch_norm(a: SparseBatchNorm) -> SparseBatchNormResult:
    """Run the op of that name."""
    features, offsets = a.features, a.offsets
    rows, channels = features.shape
    tiles, frames = tiles_of(rows), offsets.shape[0] - 1
    wide = torch.float32
    blocks = triton.cdiv(channels, _BLOCK_C)
    tile = {"CHANNELS": channels, "TILE_ROWS": TILE_ROWS, "BLOCK_C": _BLOCK_C, "num_warps": _WARPS}
    if a.training:
        partial = features.new_empty((tiles, 2, channels), dtype=wide)
        _statistics[(tiles, blocks)](features, offsets, frames, partial, **tile)
        mean, var, _, _ = combine(partial, offsets)
        used = (mean, var)
    else:
        mean, var = (features.new_empty(channels, dtype=wide) for _ in range(2))
        used = (a.running_mean, a.running_var)
    out = torch.empty_like(features)
    _normalise[(max(tiles, 1), blocks)](
        features,
        offsets,
        frames,
        a.weight,
        a.bias,
        *used,
        out,
        mean,
        var,
        rows,
        a.eps,
        COPY=not a.training,
        RELU=a.relu,
        **tile,
    )
    return SparseBatchNormResult(out, mean, var)


def sparse_batch_norm_backward(a: SparseBatchNormBackward) -> SparseBatchNormGradients:
    """Run the op of that name."""
    features, offsets = a.features, a.offsets
    rows, channels = features.shape
    tiles, frames = tiles_of(rows), offsets.shape[0] - 1
    grid = (tiles, triton.cdiv(channels, _BLOCK_C))
    tile = {"CHANNELS": channels, "TILE_ROWS": TILE_ROWS, "BLOCK_C": _BLOCK_C, "num_warps": _WARPS}
    inputs = (a.grad_out, features, offsets, frames, a.weight, a.bias, a.mean, a.var)
    partial = features.new_empty((tiles, 2, channels), dtype=torch.float32)
    _gradient_sums[grid](*inputs, partial, a.eps, RELU=a.relu, **tile)
    of_weight, of_bias = total(partial, offsets)
    out = torch.empty_like(features)
    _gradient[grid](
        *inputs, of_weight, of_bias, out, rows, a.eps, TRAINING=a.training, RELU=a.relu, **tile
    )
    return SparseBatchNormGradients(out, of_weight.to(a.weight.dtype), of_bias.to(a.bias.dtype))
