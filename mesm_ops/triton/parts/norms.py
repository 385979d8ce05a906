# mypy: allow-untyped-defs
"""A batch norm and its ReLU over rows that lie one after another: statistics, then the norm itself.

A convolution writes its rows from the first to the last, and the next convolution reads them that
way. The pass between the two goes from the last row to the first: the last rows are still in the
L2 cache.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch
from .persistent import WARPS, end_of, mask_of, persistent_grid, share, zero_rows

__all__ = [
    "Norm",
    "norm_all_rows",
    "norm_at",
    "norm_of",
    "norm_rows",
    "norm_statistics",
    "normed",
]

# Steps of a tile; programs that a multiprocessor's registers have room for.
_ROWS_STEPS, _ROWS_RESIDENT = 4, 8
_STATISTICS_STEPS, _STATISTICS_RESIDENT = 4, 6
_STAGES = tl.constexpr(3)  # two tiles are under way, or one while another is computed


class Norm(NamedTuple):
    """A batch norm as the passes read it: parameters, then float32 vectors that `combine` fills."""

    weight: Tensor  # (C,)
    bias: Tensor  # (C,)
    mean: Tensor  # (C,) float32
    var: Tensor  # (C,) float32, biased
    scale: Tensor  # (C,) float32: weight / sqrt(var + eps)
    shift: Tensor  # (C,) float32: bias - mean * scale
    eps: float


def norm_of(weight: Tensor, bias: Tensor, eps: float) -> Norm:
    """Return a norm with room for what `combine` or `prepare` fills."""
    mean, var, scale, shift = (torch.empty_like(weight, dtype=torch.float32) for _ in range(4))
    return Norm(weight, bias, mean, var, scale, shift, eps)


@triton.jit
def norm_at(first, second, mean, var, c, inside, eps, FOLDED: tl.constexpr):
    """Return factor, addend, mean and 1 / deviation of a norm in channels c, float32.

    FOLDED: first and second are scale and shift; else weight and bias.
    """
    middle = tl.load(mean + c, mask=inside, other=0.0).to(tl.float32)
    rooted = tl.sqrt_rn(tl.load(var + c, mask=inside, other=1.0).to(tl.float32) + eps)
    factor = tl.load(first + c, mask=inside, other=0.0).to(tl.float32)
    added = tl.load(second + c, mask=inside, other=0.0).to(tl.float32)
    if not FOLDED:
        factor = factor / rooted
    return factor, added, middle, 1.0 / rooted


@triton.jit
def normed(x, factor, added, middle, FOLDED: tl.constexpr):
    """Return a norm's output; unfolded, a mean far from zero costs no precision."""
    if FOLDED:
        return x * factor + added
    else:
        return (x - middle) * factor + added


@triton.jit(do_not_specialize=["rows"], do_not_specialize_on_alignment=["number"])
def _norm_rows(
    x,  # (N, C)
    number,  # (1,)
    first,  # (C,): scale, or the weight
    second,  # (C,): shift, or the bias
    mean,  # (C,)
    var,  # (C,)
    out,  # (N, C)
    mean_out,  # (C,) float32
    var_out,
    rows,
    eps,
    CHANNELS: tl.constexpr,
    FOLDED: tl.constexpr,
    RELU: tl.constexpr,
    FILL: tl.constexpr,
    COPY: tl.constexpr,  # mean and variance to mean_out and var_out
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < CHANNELS
    if FOLDED:
        factor = tl.load(first + c, mask=inside, other=0.0)[None, :]
        added = tl.load(second + c, mask=inside, other=0.0)[None, :]
        middle = added
    else:
        factor, added, middle, _ = norm_at(first, second, mean, var, c, inside, eps, False)
        if COPY and tl.program_id(0) == 0:
            spread = tl.load(var + c, mask=inside, other=0.0).to(tl.float32)
            tl.store(mean_out + c, middle, mask=inside)
            tl.store(var_out + c, spread, mask=inside)
        factor, added, middle = factor[None, :], added[None, :], middle[None, :]
    count = tl.load(number).to(tl.int32)
    row = tl.arange(0, ROWS)
    at = row[:, None] * CHANNELS + c[None, :]
    tiles = tl.cdiv(count, ROWS)
    for i in tl.range(tl.program_id(0), tiles, tl.num_programs(0), num_stages=_STAGES):
        tile = tiles - 1 - i
        base = tl.cast(tile, tl.int64) * (ROWS * CHANNELS)
        mask = mask_of(row < count - tile * ROWS, c, CHANNELS, BLOCK_C)
        value = tl.load(x + base + at, mask=mask, other=0.0).to(tl.float32)
        y = normed(value, factor, added, middle, FOLDED)
        if RELU:
            y = tl.maximum(y, 0.0, propagate_nan=tl.PropagateNan.ALL)
        tl.store(out + base + at, y.to(out.dtype.element_ty), mask=mask)
    if FILL != "none":
        zero_rows(out, count, end_of(count, rows, FILL), c, CHANNELS, ROWS, BLOCK_C)


def norm_rows(x: Tensor, number: Tensor, norm: Norm, out: Tensor) -> None:
    """Write max(scale * x + shift, 0), rounded to x's dtype; NaN stays.

    Args:
        x: (N, C).
        number: (1,) integer, how many rows are read and written.
        norm: Scale and shift are read.
        out: (N, C), may be x.
    """
    rows, channels = x.shape
    grid, height, width = persistent_grid(x, _ROWS_STEPS, _ROWS_RESIDENT)
    if grid[0]:
        launch(
            _norm_rows,
            grid,
            *(x, number, norm.scale, norm.shift, None, None, out, None, None, rows, 0.0),
            CHANNELS=channels,
            FOLDED=True,
            RELU=True,
            FILL="none",
            COPY=False,
            ROWS=height,
            BLOCK_C=width,
            num_warps=WARPS,
        )


def norm_all_rows(
    x: Tensor,
    number: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    relu: bool,
    out: Tensor,
    copies: tuple[Tensor, Tensor] | None,
) -> None:
    """Write (x - mean) / sqrt(var + eps) * weight + bias, maybe with a ReLU, zero in padding.

    Args:
        x: (N, C).
        number: (1,) integer, how many rows are real.
        weight: (C,), as the three that follow.
        bias: (C,).
        mean: (C,).
        var: (C,).
        eps: Added to the variance.
        relu: Whether negative values become zero.
        out: (N, C).
        copies: Two (C,) float32, to which mean and variance are copied.
    """
    rows, channels = x.shape
    grid, height, width = persistent_grid(x, _ROWS_STEPS, _ROWS_RESIDENT)
    launch(
        _norm_rows,
        (max(grid[0], 1), grid[1]),
        *(x, number, weight, bias, mean, var, out, *(copies or (None, None)), rows, eps),
        CHANNELS=channels,
        FOLDED=False,
        RELU=relu,
        FILL="all",
        COPY=copies is not None,
        ROWS=height,
        BLOCK_C=width,
        num_warps=WARPS,
    )


@triton.jit(do_not_specialize_on_alignment=["number"])
def _norm_statistics(
    x,  # (N, C)
    number,  # (1,)
    partial,  # (programs, 2, C) float32
    CHANNELS: tl.constexpr,
    STEPS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < CHANNELS
    count = tl.load(number).to(tl.int32)
    size = share(count, tl.num_programs(0), ROWS)
    begin = tl.program_id(0) * size
    mine = tl.minimum(tl.maximum(count - begin, 0), size)
    # Centred on the program's first row, which is at most sqrt(rows) deviations from the mean.
    at = x + begin.to(tl.int64) * CHANNELS + c
    pivot = tl.load(at, mask=inside & (mine > 0), other=0.0).to(tl.float32)
    row = tl.arange(0, ROWS // STEPS)[:, None] + tl.arange(0, STEPS)[None, :] * (ROWS // STEPS)
    at = (row * CHANNELS)[:, :, None] + c[None, None, :]
    sums = tl.zeros((ROWS // STEPS, BLOCK_C), tl.float32)
    squares = tl.zeros((ROWS // STEPS, BLOCK_C), tl.float32)
    for start in tl.range(0, mine, ROWS, num_stages=_STAGES):
        base = (begin + start).to(tl.int64) * CHANNELS
        real = (row < mine - start)[:, :, None] & inside[None, None, :]
        y = tl.load(x + base + at, mask=real, other=0.0).to(tl.float32)
        y = tl.where(real, y - pivot[None, None, :], 0.0)
        sums += tl.sum(y, 1)
        squares += tl.sum(y * y, 1)
    rows = tl.maximum(mine, 1).to(tl.float32)
    whole = tl.sum(sums, 0)
    mean = whole / rows
    squared = tl.sum(squares, 0) - whole * mean
    squared = tl.maximum(squared, 0.0, propagate_nan=tl.PropagateNan.ALL)
    at = partial + tl.program_id(0) * (2 * CHANNELS) + c
    tl.store(at, pivot + mean, mask=inside)
    tl.store(at + CHANNELS, squared, mask=inside)


def norm_statistics(x: Tensor, number: Tensor) -> tuple[Tensor, int]:
    """Return the parts from which `combine` makes the statistics of x (N, C), and its `even`."""
    channels = x.shape[1]
    steps = _STATISTICS_STEPS
    grid, height, width = persistent_grid(x, steps, _STATISTICS_RESIDENT)
    partial = x.new_empty((grid[0], 2, channels), dtype=torch.float32)
    if grid[0]:
        launch(
            _norm_statistics,
            grid,
            *(x, number, partial),
            CHANNELS=channels,
            STEPS=steps,
            ROWS=height,
            BLOCK_C=width,
            num_warps=WARPS,
        )
    return partial, height
