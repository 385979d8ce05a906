# mypy: allow-untyped-defs
"""The gradient of a batch norm and its ReLU over rows that lie one after another.

The sums come first, from the first row to the last; then the gradient, from the last row to the
first, because the last rows are still in the L2 cache.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch
from .norms import Norm, norm_at, normed
from .persistent import WARPS, end_of, mask_of, persistent_grid, zero_rows

__all__ = ["before_norm", "norm_gradient", "norm_gradient_all_rows", "norm_sums", "subtracted"]

# Steps of a tile; programs that a multiprocessor's registers have room for.
_SUMS_STEPS, _SUMS_RESIDENT = 2, 5
_GRADIENT_STEPS, _GRADIENT_RESIDENT = 2, 8
_STAGES = tl.constexpr(3)  # two tiles are under way, or one while another is computed


@triton.jit
def before_norm(g, x, factor, added, middle, FOLDED: tl.constexpr, RELU: tl.constexpr):
    """Return the gradient between norm and ReLU: zero where the output is <= 0, not where NaN."""
    if RELU:
        g = tl.where(normed(x, factor, added, middle, FOLDED) <= 0, 0.0, g)
    return g


@triton.jit
def subtracted(
    sums, count, factor, middle, rooted, c, inside, CHANNELS: tl.constexpr, FOLDED: tl.constexpr
):
    """Return a constant and a slope by x (FOLDED) or x - mean, which training subtracts from g."""
    share_of = factor / tl.maximum(count, 1).to(tl.float32)
    constant = tl.load(sums + c, mask=inside, other=0.0) * share_of
    slope = tl.load(sums + CHANNELS + c, mask=inside, other=0.0) * share_of * rooted
    if FOLDED:
        constant -= middle * slope
    return constant, slope


@triton.jit(do_not_specialize_on_alignment=["number"])
def _norm_sums(
    grad,  # (N, C)
    x,  # (N, C)
    number,  # (1,)
    weight,  # (C,), as the three that follow
    bias,
    mean,
    var,
    partial,  # (programs, 2, C) float32
    eps,
    CHANNELS: tl.constexpr,
    RELU: tl.constexpr,
    STEPS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < CHANNELS
    count = tl.load(number).to(tl.int32)
    factor, added, middle, _ = norm_at(weight, bias, mean, var, c, inside, eps, False)
    factor, added, middle = factor[None, None, :], added[None, None, :], middle[None, None, :]
    row = tl.arange(0, ROWS // STEPS)[:, None] + tl.arange(0, STEPS)[None, :] * (ROWS // STEPS)
    at = (row * CHANNELS)[:, :, None] + c[None, None, :]
    plain = tl.zeros((ROWS // STEPS, BLOCK_C), tl.float32)
    scaled = tl.zeros((ROWS // STEPS, BLOCK_C), tl.float32)
    for tile in tl.range(
        tl.program_id(0), tl.cdiv(count, ROWS), tl.num_programs(0), num_stages=_STAGES
    ):
        base = tl.cast(tile, tl.int64) * (ROWS * CHANNELS)
        real = (row < count - tile * ROWS)[:, :, None] & inside[None, None, :]
        g = tl.load(grad + base + at, mask=real, other=0.0).to(tl.float32)
        y = tl.load(x + base + at, mask=real, other=0.0).to(tl.float32)
        g = before_norm(g, y, factor, added, middle, False, RELU)
        plain += tl.sum(g, 1)
        scaled += tl.sum(g * (y - middle), 1)
    at = partial + tl.program_id(0) * (2 * CHANNELS) + c
    tl.store(at, tl.sum(plain, 0), mask=inside)
    tl.store(at + CHANNELS, tl.sum(scaled, 0), mask=inside)


def norm_sums(
    grad: Tensor,
    x: Tensor,
    number: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    relu: bool,
) -> Tensor:
    """Return the parts of `total`, of which all count; arguments as in `norm_all_rows`."""
    channels = x.shape[1]
    grid, height, width = persistent_grid(x, _SUMS_STEPS, _SUMS_RESIDENT)
    partial = x.new_empty((grid[0], 2, channels), dtype=torch.float32)
    if grid[0]:
        launch(
            _norm_sums,
            grid,
            *(grad, x, number, weight, bias, mean, var, partial, eps),
            CHANNELS=channels,
            RELU=relu,
            STEPS=_SUMS_STEPS,
            ROWS=height,
            BLOCK_C=width,
            num_warps=WARPS,
        )
    return partial


@triton.jit(do_not_specialize=["rows"], do_not_specialize_on_alignment=["number"])
def _norm_gradient(
    grad,  # (N, C)
    x,  # (N, C)
    number,  # (1,)
    first,  # (C,): scale, or the weight
    second,  # (C,): shift, or the bias
    mean,  # (C,)
    var,  # (C,)
    sums,  # (2, C) float32: the gradients of bias and of weight
    out,  # (N, C), may be grad
    rows,
    eps,
    CHANNELS: tl.constexpr,
    FOLDED: tl.constexpr,
    RELU: tl.constexpr,
    TRAINING: tl.constexpr,
    FILL: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < CHANNELS
    count = tl.load(number).to(tl.int32)
    factor, added, middle, rooted = norm_at(first, second, mean, var, c, inside, eps, FOLDED)
    if TRAINING:
        constant, slope = subtracted(
            sums, count, factor, middle, rooted, c, inside, CHANNELS, FOLDED
        )
        constant, slope = constant[None, :], slope[None, :]
    factor, added, middle = factor[None, :], added[None, :], middle[None, :]
    row = tl.arange(0, ROWS)
    at = row[:, None] * CHANNELS + c[None, :]
    tiles = tl.cdiv(count, ROWS)
    for i in tl.range(tl.program_id(0), tiles, tl.num_programs(0), num_stages=_STAGES):
        tile = tiles - 1 - i
        base = tl.cast(tile, tl.int64) * (ROWS * CHANNELS)
        mask = mask_of(row < count - tile * ROWS, c, CHANNELS, BLOCK_C)
        g = tl.load(grad + base + at, mask=mask, other=0.0).to(tl.float32)
        y = tl.load(x + base + at, mask=mask, other=0.0).to(tl.float32)
        g = before_norm(g, y, factor, added, middle, FOLDED, RELU)
        g *= factor
        if TRAINING:
            if not FOLDED:
                y -= middle
            g -= y * slope + constant
        tl.store(out + base + at, g.to(out.dtype.element_ty), mask=mask)
    zero_rows(out, count, end_of(count, rows, FILL), c, CHANNELS, ROWS, BLOCK_C)


def norm_gradient(
    grad: Tensor,
    x: Tensor,
    number: Tensor,
    norm: Norm,
    sums: Tensor,
    out: Tensor,
    *,
    training: bool,
) -> None:
    """Write the gradient before a norm and its ReLU, zero in the last tile beyond the last row.

    Args:
        grad: (T * TILE, C), the gradient of the ReLU's output.
        x: (T * TILE, C), the norm's input.
        number: (1,) integer, how many rows there are.
        norm: The norm; all its tensors but weight and bias are read.
        sums: (2, C) float32, as `total` leaves it.
        out: Like grad, and may be grad.
        training: Whether the norm's mean and variance are those of x.
    """
    _launch_gradient(
        *(grad, x, number, norm.scale, norm.shift, norm.mean, norm.var, sums, out, norm.eps),
        folded=True,
        relu=True,
        training=training,
        fill="tile",
    )


def norm_gradient_all_rows(
    grad: Tensor,
    x: Tensor,
    number: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    relu: bool,
    sums: Tensor,
    out: Tensor,
    *,
    training: bool,
) -> None:
    """Write the gradient before a norm, zero in padding; arguments as in `norm_all_rows`."""
    _launch_gradient(
        *(grad, x, number, weight, bias, mean, var, sums, out, eps),
        folded=False,
        relu=relu,
        training=training,
        fill="all",
    )


def _launch_gradient(
    grad: Tensor,
    x: Tensor,
    number: Tensor,
    first: Tensor,
    second: Tensor,
    mean: Tensor,
    var: Tensor,
    sums: Tensor,
    out: Tensor,
    eps: float,
    *,
    folded: bool,
    relu: bool,
    training: bool,
    fill: str,
) -> None:
    rows, channels = x.shape
    grid, height, width = persistent_grid(x, _GRADIENT_STEPS, _GRADIENT_RESIDENT)
    if grid[0]:
        launch(
            _norm_gradient,
            grid,
            *(grad, x, number, first, second, mean, var, sums, out, rows, eps),
            CHANNELS=channels,
            FOLDED=folded,
            RELU=relu,
            TRAINING=training,
            FILL=fill,
            ROWS=height,
            BLOCK_C=width,
            num_warps=WARPS,
        )
