# mypy: allow-untyped-defs
"""A norm, its ReLU and the 2x2 pool after them, over rows in any order; and their gradient.

The gradient between pool and norm, zero at most rows, is never in memory.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .launch import launch
from .norm_gradients import before_norm, subtracted
from .norms import Norm, norm_at
from .persistent import WARPS, PersistentGrid, end_of, mask_of, persistent_grid, zero_rows

__all__ = ["norm_pool", "norm_pool_gradient", "norm_pool_parts", "norm_pool_sums"]

# Steps of a tile; programs that a multiprocessor's registers have room for.
_POOL_STEPS, _POOL_RESIDENT = 1, 8
_SUMS_STEPS, _SUMS_RESIDENT = 1, 6
_GRADIENT_STEPS, _GRADIENT_RESIDENT = 2, 5
# Two tiles are under way while one is computed, and the indices of a third.
_STAGES = tl.constexpr(4)


@triton.jit
def _rows_of(windows, window, count):
    """Return the four rows of each window, -1 where there is none."""
    at = windows + window.to(tl.int64) * 4
    there = window < count
    row0 = tl.load(at, mask=there, other=-1)
    row1 = tl.load(at + 1, mask=there, other=-1)
    row2 = tl.load(at + 2, mask=there, other=-1)
    row3 = tl.load(at + 3, mask=there, other=-1)
    return row0, row1, row2, row3


@triton.jit
def _row(y, row, c, CHANNELS: tl.constexpr, BLOCK_C: tl.constexpr):
    """Return a row for each window, zero where there is none."""
    at = row.to(tl.int64)[:, None] * CHANNELS + c[None, :]
    return tl.load(y + at, mask=mask_of(row >= 0, c, CHANNELS, BLOCK_C), other=0.0)


@triton.jit
def _bytes_at(argmax, base, at, y):
    """Return addresses laid out so that a thread takes as many as elements of y in 16 bytes."""
    return tl.max_contiguous(argmax + base + at, [1, 128 // y.dtype.element_ty.primitive_bitwidth])


@triton.jit
def _key(y, row, factor, added, SLOT: tl.constexpr):
    """Return keys that order a window's rows by value, then by slot, the first slot greatest.

    A non-negative float32 grows with its bits, NaN beyond infinity. A float32 that came from 16
    bits ends in zeros, two of which take 3 - slot; other values get two bits more. No row: -1.
    """
    value = tl.maximum(y.to(tl.float32) * factor + added, 0.0, propagate_nan=tl.PropagateNan.ALL)
    value = value.to(y.dtype)  # as stored
    if y.dtype == tl.bfloat16:
        bits = value.to(tl.int16, bitcast=True).to(tl.int32) << 16
    else:
        bits = value.to(tl.float32).to(tl.int32, bitcast=True)
    if y.dtype == tl.float32:
        bits = (bits.to(tl.int64) << 2) & 0x1FFFFFFFC
    else:
        bits &= 0x7FFFFFFC  # no sign: a zero may have one
    return bits | tl.where(row >= 0, 3 - SLOT, -1)[:, None]


@triton.jit
def _value_of(key, WIDE: tl.constexpr):
    """Return the value that a key holds, float32."""
    if WIDE:
        return (key >> 2).to(tl.int32).to(tl.float32, bitcast=True)
    else:
        return (key & 0x7FFFFFFC).to(tl.float32, bitcast=True)


@triton.jit
def _greater(best, y, row, factor, added):
    """Return the maximum with one row more; rounding, which keeps the order, comes later."""
    value = tl.where((row >= 0)[:, None], y.to(tl.float32) * factor + added, 0.0)
    return tl.maximum(value, best, propagate_nan=tl.PropagateNan.ALL)


@triton.jit(do_not_specialize=["rows"], do_not_specialize_on_alignment=["number"])
def _norm_pool(
    y,  # (N, C)
    windows,  # (M, 4)
    number,  # (1,), how many windows
    scale,  # (C,) float32
    shift,
    out,  # (M, C)
    argmax,  # (M, C) uint8
    rows,  # of out
    CHANNELS: tl.constexpr,
    KEEP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < CHANNELS
    factor = tl.load(scale + c, mask=inside, other=0.0)[None, :]
    added = tl.load(shift + c, mask=inside, other=0.0)[None, :]
    count = tl.load(number).to(tl.int32)
    lane = tl.arange(0, ROWS)
    at = lane[:, None] * CHANNELS + c[None, :]
    tiles = tl.cdiv(count, ROWS)
    for i in tl.range(tl.program_id(0), tiles, tl.num_programs(0), num_stages=_STAGES):
        tile = tiles - 1 - i
        row0, row1, row2, row3 = _rows_of(windows, tile * ROWS + lane, count)
        y0 = _row(y, row0, c, CHANNELS, BLOCK_C)
        y1 = _row(y, row1, c, CHANNELS, BLOCK_C)
        y2 = _row(y, row2, c, CHANNELS, BLOCK_C)
        y3 = _row(y, row3, c, CHANNELS, BLOCK_C)
        if KEEP:
            key = tl.maximum(_key(y0, row0, factor, added, 0), 0)
            key = tl.maximum(_key(y1, row1, factor, added, 1), key)
            key = tl.maximum(_key(y2, row2, factor, added, 2), key)
            key = tl.maximum(_key(y3, row3, factor, added, 3), key)
            best = _value_of(key, y.dtype.element_ty == tl.float32)
        else:
            best = tl.zeros((ROWS, BLOCK_C), tl.float32)
            best = _greater(best, y0, row0, factor, added)
            best = _greater(best, y1, row1, factor, added)
            best = _greater(best, y2, row2, factor, added)
            best = _greater(best, y3, row3, factor, added)
        base = tl.cast(tile, tl.int64) * (ROWS * CHANNELS)
        mask = mask_of(lane < count - tile * ROWS, c, CHANNELS, BLOCK_C)
        tl.store(out + base + at, best.to(out.dtype.element_ty), mask=mask)
        if KEEP:
            slot = (3 - (key & 3)).to(tl.uint8)
            tl.store(_bytes_at(argmax, base, at, y), slot, mask=mask)
    zero_rows(out, count, rows, c, CHANNELS, ROWS, BLOCK_C)


def norm_pool(
    y: Tensor, windows: Tensor, number: Tensor, norm: Norm, out: Tensor, argmax: Tensor | None
) -> None:
    """Write the maximum of max(scale * y + shift, 0), rounded to y's dtype, of each window's rows.

    Args:
        y: (N, C).
        windows: (M, 4) int32: the rows of each window's sites, row by row; -1: not active.
        number: (1,) integer, how many windows are read.
        norm: The norm, whose scale and shift are read.
        out: (M, C) in y's dtype; zero where there is no window.
        argmax: (M, C) uint8, which of the four rows has the maximum: the first of equals, or the
            first NaN; not written where there is no window. None: nothing is written.
    """
    rows, channels = out.shape
    grid, height, width = persistent_grid(out, _POOL_STEPS, _POOL_RESIDENT)
    if grid[0]:
        launch(
            _norm_pool,
            grid,
            *(y, windows, number, norm.scale, norm.shift, out, argmax, rows),
            CHANNELS=channels,
            KEEP=argmax is not None,
            ROWS=height,
            BLOCK_C=width,
            num_warps=WARPS,
        )


@triton.jit(do_not_specialize_on_alignment=["number"])
def _norm_pool_sums(
    grad_out,  # (M, C)
    argmax,  # (M, C) uint8
    y,  # (N, C)
    windows,  # (M, 4)
    number,  # (1,), how many windows
    scale,  # (C,) float32, as all that follow
    shift,
    mean,
    partial,  # (programs, 2, C) float32
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < CHANNELS
    factor = tl.load(scale + c, mask=inside, other=0.0)[None, :]
    added = tl.load(shift + c, mask=inside, other=0.0)[None, :]
    middle = tl.load(mean + c, mask=inside, other=0.0)[None, :]
    count = tl.load(number).to(tl.int32)
    lane = tl.arange(0, ROWS)
    at = lane[:, None] * CHANNELS + c[None, :]
    plain = tl.zeros((ROWS, BLOCK_C), tl.float32)
    scaled = tl.zeros((ROWS, BLOCK_C), tl.float32)
    tiles = tl.cdiv(count, ROWS)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), num_stages=_STAGES):
        row0, row1, row2, row3 = _rows_of(windows, tile * ROWS + lane, count)
        base = tl.cast(tile, tl.int64) * (ROWS * CHANNELS)
        real = mask_of(lane < count - tile * ROWS, c, CHANNELS, BLOCK_C)
        g = tl.load(grad_out + base + at, mask=real, other=0.0).to(tl.float32)
        slot = tl.load(_bytes_at(argmax, base, at, y), mask=real, other=0)
        x = _row(y, row0, c, CHANNELS, BLOCK_C)
        x = tl.where(slot == 1, _row(y, row1, c, CHANNELS, BLOCK_C), x)
        x = tl.where(slot == 2, _row(y, row2, c, CHANNELS, BLOCK_C), x)
        x = tl.where(slot == 3, _row(y, row3, c, CHANNELS, BLOCK_C), x)
        x = x.to(tl.float32)
        g = before_norm(g, x, factor, added, middle, True, True)
        plain += g
        scaled += g * (x - middle)
    at = partial + tl.program_id(0) * (2 * CHANNELS) + c
    tl.store(at, tl.sum(plain, 0), mask=inside)
    tl.store(at + CHANNELS, tl.sum(scaled, 0), mask=inside)


def _sums_grid(grad_out: Tensor) -> PersistentGrid:
    return persistent_grid(grad_out, _SUMS_STEPS, _SUMS_RESIDENT)


def norm_pool_parts(grad_out: Tensor) -> int:
    """Return the T of `norm_pool_sums`."""
    return _sums_grid(grad_out).grid[0]


def norm_pool_sums(
    grad_out: Tensor,
    argmax: Tensor,
    y: Tensor,
    windows: Tensor,
    number: Tensor,
    norm: Norm,
    partial: Tensor,
) -> None:
    """Write the parts of `total`, of which all count.

    Args:
        grad_out: (M, C), the gradient of the pool's output.
        argmax: (M, C) uint8, as `norm_pool` leaves it.
        y: (N, C).
        windows: (M, 4) int32.
        number: (1,) integer, how many windows are read.
        norm: The norm, whose mean, scale and shift are read.
        partial: (T, 2, C) float32.
    """
    channels = grad_out.shape[1]
    grid, height, width = _sums_grid(grad_out)
    if grid[0]:
        launch(
            _norm_pool_sums,
            grid,
            *(grad_out, argmax, y, windows, number, norm.scale, norm.shift, norm.mean, partial),
            CHANNELS=channels,
            ROWS=height,
            BLOCK_C=width,
            num_warps=WARPS,
        )


@triton.jit(do_not_specialize=["rows"], do_not_specialize_on_alignment=["number"])
def _norm_pool_gradient(
    grad_out,  # (M, C)
    argmax,  # (M, C) uint8
    y,  # (N, C)
    window_of,  # (N,)
    number,  # (1,), how many rows
    scale,  # (C,) float32, as all but sums
    shift,
    mean,
    var,
    sums,  # (2, C) float32: the gradients of bias and of weight
    out,  # (N, C)
    rows,
    eps,
    CHANNELS: tl.constexpr,
    TRAINING: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < CHANNELS
    count = tl.load(number).to(tl.int32)
    factor, added, middle, rooted = norm_at(scale, shift, mean, var, c, inside, eps, True)
    if TRAINING:
        constant, slope = subtracted(sums, count, factor, middle, rooted, c, inside, CHANNELS, True)
        constant, slope = constant[None, :], slope[None, :]
    factor, added, middle = factor[None, :], added[None, :], middle[None, :]
    lane = tl.arange(0, ROWS)
    at = lane[:, None] * CHANNELS + c[None, :]
    tiles = tl.cdiv(count, ROWS)
    for i in tl.range(tl.program_id(0), tiles, tl.num_programs(0), num_stages=_STAGES):
        tile = tiles - 1 - i
        row = tile * ROWS + lane
        code = tl.load(window_of + row, mask=row < count, other=-1)
        base = tl.cast(tile, tl.int64) * (ROWS * CHANNELS)
        mask = mask_of(lane < count - tile * ROWS, c, CHANNELS, BLOCK_C)
        x = tl.load(y + base + at, mask=mask, other=0.0).to(tl.float32)
        pooled = mask_of(code >= 0, c, CHANNELS, BLOCK_C)
        place = (code >> 2).to(tl.int64)[:, None] * CHANNELS + c[None, :]
        g = tl.load(grad_out + place, mask=pooled, other=0.0).to(tl.float32)
        slot = tl.load(_bytes_at(argmax, 0, place, y), mask=pooled, other=0)
        g = tl.where(slot == (code & 3)[:, None], g, 0.0)
        g = before_norm(g, x, factor, added, middle, True, True)
        g *= factor
        if TRAINING:
            g -= x * slope + constant
        tl.store(out + base + at, g.to(out.dtype.element_ty), mask=mask)
    zero_rows(out, count, end_of(count, rows, "tile"), c, CHANNELS, ROWS, BLOCK_C)


def norm_pool_gradient(
    grad_out: Tensor,
    argmax: Tensor,
    y: Tensor,
    window_of: Tensor,
    number: Tensor,
    norm: Norm,
    sums: Tensor,
    out: Tensor,
    *,
    training: bool,
) -> None:
    """Write the gradient of y, zero in the last tile beyond the last row.

    Args:
        grad_out: (M, C), the gradient of the pool's output.
        argmax: (M, C) uint8, as `norm_pool` leaves it.
        y: (T * TILE, C).
        window_of: (T * TILE,) int32: 4 * window + slot of each row, -1: in no window.
        number: (1,) integer, how many rows there are.
        norm: The norm; all its tensors but weight and bias are read.
        sums: (2, C) float32, as `total` leaves it.
        out: Like y.
        training: Whether the norm's mean and variance are those of y.
    """
    rows, channels = y.shape
    grid, height, width = persistent_grid(y, _GRADIENT_STEPS, _GRADIENT_RESIDENT)
    if grid[0]:
        launch(
            _norm_pool_gradient,
            grid,
            *(grad_out, argmax, y, window_of, number),
            *(norm.scale, norm.shift, norm.mean, norm.var, sums, out, rows, norm.eps),
            CHANNELS=channels,
            TRAINING=training,
            ROWS=height,
            BLOCK_C=width,
            num_warps=WARPS,
        )
