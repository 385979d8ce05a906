# mypy: allow-untyped-defs
"""Sums over the active rows of each channel: a kernel leaves one result per tile of rows, another
adds the tiles in a fixed order. No atomics, so two runs agree bit for bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .parts import reductions

__all__ = ["TILE_ROWS", "column_sums", "combine", "tile_statistics", "tiles_of", "total"]

TILE_ROWS = 128  # rows that one partial result stands for
_TILES, _CHANNELS = 128, 8  # what a program of the second kernels holds: 32 bytes of each tile


def tiles_of(rows: int) -> int:
    """Return how many partial results so many rows give."""
    return triton.cdiv(rows, TILE_ROWS)


@triton.jit
def tile_statistics(y, real):
    """Return mean and sum of squared deviations of a tile's real rows; y (rows, channels)."""
    count = tl.maximum(tl.sum(real.to(tl.float32), 0), 1.0)
    mean = tl.sum(tl.where(real[:, None], y, 0.0), 0) / count
    away = tl.where(real[:, None], y - mean[None, :], 0.0)
    # What rounding left of the mean, which a mean far from zero would magnify.
    left = tl.sum(away, 0) / count
    squares = tl.sum(away * away, 0) - count * left * left
    return mean + left, tl.maximum(squares, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _combine(
    partial,  # (T, 2, C) float32: mean and sum of squared deviations of each tile
    offsets,  # (F + 1,)
    frames,
    weight,  # (C,), as all that follow
    bias,
    mean_out,
    var_out,
    scale,
    shift,
    eps,
    CHANNELS: tl.constexpr,
    AFFINE: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < CHANNELS
    count = tl.load(offsets + frames)
    # Each lane merges every BLOCK_T-th tile into its own (Chan, Golub and LeVeque, 1979).
    seen = tl.zeros((BLOCK_T,), tl.float32)
    mean = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    squares = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    for start in range(0, tl.cdiv(count, TILE_ROWS), BLOCK_T):
        tile = start + tl.arange(0, BLOCK_T)
        more = tl.minimum(tl.maximum(count - tile * TILE_ROWS, 0), TILE_ROWS).to(tl.float32)
        at = partial + tile.to(tl.int64)[:, None] * (2 * CHANNELS) + channel[None, :]
        mask = (more > 0)[:, None] & inside[None, :]
        delta = tl.load(at, mask=mask, other=0.0) - mean
        share = more / tl.maximum(seen + more, 1.0)
        mean += delta * share[:, None]
        squares += tl.load(at + CHANNELS, mask=mask, other=0.0)
        squares += delta * delta * (seen * share)[:, None]
        seen += more
    rows = tl.maximum(count, 1).to(tl.float32)
    grand = tl.sum(mean * seen[:, None], 0) / rows
    away = mean - grand[None, :]
    var = tl.sum(squares + away * away * seen[:, None], 0) / rows
    tl.store(mean_out + channel, grand, mask=inside)
    tl.store(var_out + channel, var, mask=inside)
    if AFFINE:
        factor = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
        factor = factor / tl.sqrt_rn(var + eps)
        added = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
        tl.store(scale + channel, factor, mask=inside)
        tl.store(shift + channel, added - grand * factor, mask=inside)


def combine(
    partial: Tensor,
    offsets: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Turn the statistics of tiles into those of all active rows.

    Args:
        partial: (T, 2, C) float32, of each tile of `TILE_ROWS` rows the mean and the sum of squared
            deviations from it.
        offsets: (F + 1,) int32.
        weight: (C,), of the norm that follows; None: no scale and shift are wanted.
        bias: (C,), likewise.
        eps: Added to the variance in the scale.

    Returns:
        Mean and biased variance (C,) float32, zero without rows; then scale and shift (C,)
        float32 with scale * x + shift = (x - mean) / sqrt(var + eps) * weight + bias, or None.
    """
    channels = partial.shape[2]
    affine = weight is not None
    mean, var = partial.new_empty(channels), partial.new_empty(channels)
    scale, shift = (torch.empty_like(mean) if affine else None for _ in range(2))
    _combine[(triton.cdiv(channels, _CHANNELS),)](
        partial,
        offsets,
        offsets.shape[0] - 1,
        weight,
        bias,
        mean,
        var,
        scale,
        shift,
        eps,
        CHANNELS=channels,
        AFFINE=affine,
        TILE_ROWS=TILE_ROWS,
        BLOCK_T=_TILES,
        BLOCK_C=_CHANNELS,
    )
    return mean, var, scale, shift


@triton.jit
def _total(
    partial,  # (T, parts, C) float32
    offsets,
    frames,
    first,  # (C,) float32
    second,
    CHANNELS: tl.constexpr,
    PARTS: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    part = tl.program_id(1)
    inside = channel < CHANNELS
    tiles = tl.cdiv(tl.load(offsets + frames), TILE_ROWS)
    sums = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    for start in range(0, tiles, BLOCK_T):
        tile = start + tl.arange(0, BLOCK_T)
        at = (tile.to(tl.int64) * PARTS + part)[:, None] * CHANNELS + channel[None, :]
        sums += tl.load(partial + at, mask=(tile < tiles)[:, None] & inside[None, :], other=0.0)
    summed = tl.sum(sums, 0)
    if part == 0:
        tl.store(first + channel, summed, mask=inside)
    else:
        tl.store(second + channel, summed, mask=inside)


def total(partial: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    """Add the sums of tiles, (T, parts, C) float32 of one part or two, to (C,) for each part."""
    _, parts, channels = partial.shape
    sums = tuple(partial.new_empty(channels) for _ in range(parts))
    _total[(triton.cdiv(channels, _CHANNELS), parts)](
        partial,
        offsets,
        offsets.shape[0] - 1,
        sums[0],
        sums[-1],
        CHANNELS=channels,
        PARTS=parts,
        TILE_ROWS=TILE_ROWS,
        BLOCK_T=_TILES,
        BLOCK_C=_CHANNELS,
    )
    return sums


def column_sums(features: Tensor, offsets: Tensor) -> Tensor:
    """Add the active rows of features (N, C) to (C,) float32."""
    return reductions.column_sums(features, offsets[-1:])
