# mypy: allow-untyped-defs
"""Statistics and sums of all rows from those of parts, in a fixed order; no atomics.

A part is the sums of one tile of a convolution or of one program of a pass. A program here takes
eight channels, 32 bytes of each part, and all parts; a lane of threads adds every 256th part, then
the lanes' sums are added.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch
from .layout import TILE
from .norms import Norm
from .persistent import WARPS, persistent_grid, share
from .rulebook import Rulebook
from .sizes import cdiv
from .weight_gradient import BLOCK_TILES, TapTiles, list_tiles

__all__ = ["column_sums", "combine", "total"]

_CHANNELS = 8
_LANES = 256  # parts that the threads of a program read in one step: 16 bytes a thread
_STAGES = tl.constexpr(6)  # five steps are under way at once: 1280 parts
_WARPS = 16
_COLUMN_STAGES = tl.constexpr(3)
_COLUMN_STEPS, _COLUMN_RESIDENT = 4, 8


@triton.jit(do_not_specialize=["parts"], do_not_specialize_on_alignment=["number"])
def _combine(
    partial,  # (parts, 2, C) float32
    number,  # (1,): of rows
    weight,  # (C,), as all that follow
    bias,
    mean_out,
    var_out,
    scale_out,
    shift_out,
    eps,
    parts,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,  # of a tile
    EVEN: tl.constexpr,  # parts are even shares; else they take tiles in turns
    CENTRED: tl.constexpr,  # mean and squared deviations, not sums of values and squares
    LANES: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < CHANNELS
    count = tl.load(number).to(tl.int32)
    factor = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    added = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
    tiles = tl.cdiv(count, ROWS)
    if EVEN:
        size = share(count, parts, ROWS)
        parts = tl.cdiv(count, tl.maximum(size, 1))
    else:
        parts = tl.minimum(parts, tl.maximum(tiles, 1))
        last = (tiles - 1) % parts  # the part that took the last tile

    # Each lane merges its parts (Chan, Golub and LeVeque, 1979): plain sums over all parts would
    # round the square of the mean, merging rounds differences of means.
    lane = tl.arange(0, LANES)
    at = (lane * (2 * CHANNELS))[:, None] + channel[None, :]
    seen = tl.zeros((LANES,), tl.float32)
    mean = tl.zeros((LANES, BLOCK_C), tl.float32)
    squares = tl.zeros((LANES, BLOCK_C), tl.float32)
    for start in tl.range(0, parts, LANES, num_stages=_STAGES):
        part = start + lane
        if EVEN:
            more = tl.minimum(tl.maximum(count - part * size, 0), size)
        else:
            more = tl.maximum((tiles - part + parts - 1) // parts, 0) * ROWS
            more -= tl.where(part == last, tiles * ROWS - count, 0)
            more = tl.where(part < parts, more, 0)
        mask = (more > 0)[:, None] & inside[None, :]
        first = tl.load(partial + at, mask=mask, other=0.0)
        second = tl.load(partial + at + CHANNELS, mask=mask, other=0.0)
        partial += LANES * 2 * CHANNELS
        more = more.to(tl.float32)
        if not CENTRED:
            sums = first
            first = sums * (1.0 / tl.maximum(more, 1.0))[:, None]
            second = second - sums * first
            second = tl.maximum(second, 0.0, propagate_nan=tl.PropagateNan.ALL)
        delta = first - mean
        grown = more / tl.maximum(seen + more, 1.0)
        mean += delta * grown[:, None]
        squares += second + delta * delta * (seen * grown)[:, None]
        seen += more
    rows = tl.maximum(count, 1).to(tl.float32)
    grand = tl.sum(mean * seen[:, None], 0) / rows
    away = mean - grand[None, :]
    var = tl.sum(squares + away * away * seen[:, None], 0) / rows
    # A mean far from zero was rounded once for each lane: add what the rounding took.
    grand += tl.sum(away * seen[:, None], 0) / rows
    factor = factor / tl.sqrt_rn(var + eps)
    tl.store(mean_out + channel, grand, mask=inside)
    tl.store(var_out + channel, var, mask=inside)
    tl.store(scale_out + channel, factor, mask=inside)
    tl.store(shift_out + channel, added - grand * factor, mask=inside)


def combine(
    partial: Tensor,
    parts: int,
    number: Tensor,
    norm: Norm,
    *,
    centred: bool,
    even: int = 0,
) -> None:
    """Fill a norm with the statistics of all rows, from those of parts.

    Without rows mean and variance are zero.

    Args:
        partial: (parts or more, 2, C) float32: per part the sums over its rows of y and of y's
            square; if `centred`, the mean and the sum of squared deviations from the mean.
        parts: How many parts; part i takes the tiles i, i + parts, ... of `TILE` rows.
        number: (1,) integer, how many rows there are.
        norm: Its mean, var, scale and shift are written.
        centred: Whether the parts hold means and deviations, or sums. Sums are for values of 16
            bits, which leave nothing to measure where the mean is far from zero.
        even: The parts share the rows evenly instead, in whole tiles of so many.
    """
    channels = partial.shape[2]
    launch(
        _combine,
        (cdiv(channels, _CHANNELS),),
        *(partial, number, norm.weight, norm.bias),
        *(norm.mean, norm.var, norm.scale, norm.shift, norm.eps, parts),
        CHANNELS=channels,
        ROWS=even or TILE,
        EVEN=even > 0,
        CENTRED=centred,
        LANES=_LANES,
        BLOCK_C=_CHANNELS,
        num_warps=_WARPS,
    )


@triton.jit(do_not_specialize=["parts"], do_not_specialize_on_alignment=["number", "rows"])
def _total(
    partial,  # (parts, kinds, C) float32
    number,  # (1,): of rows
    var,  # (C,)
    sums,  # (kinds, C) float32
    of_bias,  # (C,), of the first kind
    of_weight,  # (C,), of the second
    masks,  # of a rulebook, as the next, for `list_tiles`
    rows,  # (1,)
    tiles,  # None: no tiles are listed
    counts,
    eps,
    parts,
    capacity,  # of tiles
    CHANNELS: tl.constexpr,
    KINDS: tl.constexpr,
    ROWS: tl.constexpr,  # of a part; 0: all parts count
    NORM: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK_C: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_TILES: tl.constexpr,
):
    block = tl.program_id(0)
    if tiles is not None:
        tap = block - tl.cdiv(CHANNELS, BLOCK_C)
        if (tap >= 0) & (tl.program_id(1) == 0):
            list_tiles(masks, rows, tiles, counts, capacity, tap, TILE, BLOCK_TILES)
    if block * BLOCK_C < CHANNELS:
        _add_up(
            partial, number, var, sums, of_bias, of_weight, eps, parts, block,
            CHANNELS, KINDS, ROWS, NORM, LANES, BLOCK_C,
        )  # fmt: skip


@triton.jit
def _add_up(
    partial, number, var, sums, of_bias, of_weight, eps, parts, block,
    CHANNELS: tl.constexpr, KINDS: tl.constexpr, ROWS: tl.constexpr, NORM: tl.constexpr,
    LANES: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    channel = block * BLOCK_C + tl.arange(0, BLOCK_C)
    kind = tl.program_id(1)
    inside = channel < CHANNELS
    if NORM:
        spread = tl.load(var + channel, mask=inside, other=1.0).to(tl.float32)
    if ROWS > 0:
        parts = tl.cdiv(tl.load(number).to(tl.int32), ROWS)
    lane = tl.arange(0, LANES)
    at = (lane * (KINDS * CHANNELS))[:, None] + channel[None, :]
    summed = tl.zeros((LANES, BLOCK_C), tl.float32)
    partial += kind * CHANNELS
    for start in tl.range(0, parts, LANES, num_stages=_STAGES):
        mask = (lane < parts - start)[:, None] & inside[None, :]
        summed += tl.load(partial + at, mask=mask, other=0.0)
        partial += LANES * KINDS * CHANNELS
    whole = tl.sum(summed, 0)
    if NORM:
        # The second kind has the mean subtracted: over the deviation, a sum of normalised rows.
        whole = tl.where(kind == 1, whole / tl.sqrt_rn(spread + eps), whole)
        if kind == 0:
            tl.store(of_bias + channel, whole.to(of_bias.dtype.element_ty), mask=inside)
        else:
            tl.store(of_weight + channel, whole.to(of_weight.dtype.element_ty), mask=inside)
    tl.store(sums + kind * CHANNELS + channel, whole, mask=inside)


def total(
    partial: Tensor,
    number: Tensor | None,
    var: Tensor,
    eps: float,
    sums: Tensor,
    of_weight: Tensor,
    of_bias: Tensor,
    rules: Rulebook | None = None,
    taps: TapTiles | None = None,
) -> None:
    """Add up the gradients of a norm's weight and bias; and do `tap_tiles` beside that.

    Args:
        partial: (T, 2, C) float32: per part the sums over its rows of g and of g * (y - mean),
            g being the gradient after the norm, before its ReLU. The mean is subtracted so that no
            digit is lost where the mean is far from zero; the constant deviation is left out.
        number: (1,) integer, how many rows there are, `TILE` a part: no part beyond the last row
            is read; None: every part counts.
        var: (C,) float32, of the norm.
        eps: Added to the variance.
        sums: (2, C) float32: written, the gradients of bias and of weight.
        of_weight: (C,): written, the same in the parameter's dtype.
        of_bias: (C,): written, likewise.
        rules: Whose tiles are listed.
        taps: Where `tap_tiles` of these rules goes, from `room_for_tap_tiles`; None: nowhere.
    """
    _launch_total(partial, number, var, eps, sums, of_weight, of_bias, rules, taps)


def _launch_total(
    partial: Tensor,
    number: Tensor | None,
    var: Tensor | None,
    eps: float,
    sums: Tensor,
    of_weight: Tensor | None,
    of_bias: Tensor | None,
    rules: Rulebook | None = None,
    taps: TapTiles | None = None,
) -> None:
    parts, kinds, channels = partial.shape
    masks = rows = tiles = counts = None
    blocks, capacity = cdiv(channels, _CHANNELS), 0
    if rules is not None and taps is not None:
        masks, rows, (tiles, counts) = rules.masks, rules.number, taps
        blocks, capacity = blocks + 9, masks.shape[0]
    launch(
        _total,
        (blocks, kinds),
        *(partial, number, var, sums, of_bias, of_weight, masks, rows, tiles, counts),
        *(eps, parts, capacity),
        CHANNELS=channels,
        KINDS=kinds,
        ROWS=TILE if number is not None else 0,
        NORM=var is not None,
        LANES=_LANES,
        BLOCK_C=_CHANNELS,
        TILE=TILE,
        BLOCK_TILES=BLOCK_TILES,
        num_warps=_WARPS,
    )


@triton.jit(do_not_specialize_on_alignment=["number"])
def _column_sums(
    features,  # (N, C)
    number,  # (1,)
    partial,  # (programs, 1, C) float32
    CHANNELS: tl.constexpr,
    STEPS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = (c < CHANNELS)[None, None, :]
    count = tl.load(number).to(tl.int32)
    row = tl.arange(0, ROWS // STEPS)[:, None] + tl.arange(0, STEPS)[None, :] * (ROWS // STEPS)
    at = (row * CHANNELS)[:, :, None] + c[None, None, :]
    summed = tl.zeros((ROWS // STEPS, BLOCK_C), tl.float32)
    for tile in tl.range(
        tl.program_id(0), tl.cdiv(count, ROWS), tl.num_programs(0), num_stages=_COLUMN_STAGES
    ):
        mask = (row < count - tile * ROWS)[:, :, None] & inside
        base = tl.cast(tile, tl.int64) * (ROWS * CHANNELS)
        x = tl.load(features + base + at, mask=mask, other=0.0)
        summed += tl.sum(x.to(tl.float32), 1)
    whole = tl.sum(summed, 0)
    tl.store(partial + tl.program_id(0) * CHANNELS + c, whole, mask=c < CHANNELS)


def column_sums(features: Tensor, number: Tensor) -> Tensor:
    """Add the first rows of features (N, C), `number` (1,) of them, to (C,) float32."""
    channels = features.shape[1]
    grid, height, width = persistent_grid(features, _COLUMN_STEPS, _COLUMN_RESIDENT)
    partial = features.new_empty((grid[0], 1, channels), dtype=torch.float32)
    if grid[0]:
        launch(
            _column_sums,
            grid,
            *(features, number, partial),
            CHANNELS=channels,
            STEPS=_COLUMN_STEPS,
            ROWS=height,
            BLOCK_C=width,
            num_warps=WARPS,
        )
    sums = features.new_empty((1, channels), dtype=torch.float32)
    _launch_total(partial, None, None, 0.0, sums, None, None)
    return sums[0]
