# mypy: allow-untyped-defs
"""The gradient of a submanifold convolution's weight, over rows in sorted order.

For each tap a product over the tiles of rows that have the tap. As many programs as run at once
share the steps of all taps evenly; each program leaves its part of a sum, and `finish` adds the
parts in a fixed order, so that two runs agree bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .choice import Choice, choose, descriptor
from .launch import launch
from .products import precision
from .rulebook import Rulebook
from .sizes import cdiv, next_power_of_2, programs_of
from .tiles import TILE, step_of, steps_of_program, unit_of

__all__ = [
    "BLOCK_TILES",
    "TapTiles",
    "WeightParts",
    "list_tiles",
    "room_for_tap_tiles",
    "tap_tiles",
    "weight_gradient",
]

TapTiles = tuple[Tensor, Tensor]  # (9, T) and (16,) int32: per tap its tiles and their number
BLOCK_TILES = 1024  # tiles that a program looks at in one step


@triton.jit
def list_tiles(
    masks, number, tiles, counts, capacity, tap, TILE: tl.constexpr, BLOCK: tl.constexpr
):
    """List the tiles that have a row with a neighbour at a tap."""
    end = (tl.load(number) + TILE - 1) // TILE
    done = 0
    for start in range(0, end, BLOCK):
        tile = start + tl.arange(0, BLOCK)
        has = (tl.load(masks + tile, mask=tile < end, other=0) >> tap) & 1
        at = tiles + tap * capacity + done + tl.cumsum(has, 0) - has
        tl.store(at, tile, mask=has != 0)
        done += tl.sum(has, 0)
    tl.store(counts + tap, done)


@triton.jit
def _tap_tiles_kernel(
    masks,  # (T,)
    number,
    tiles,  # (9, T)
    counts,  # (16,)
    capacity,  # T
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    list_tiles(masks, number, tiles, counts, capacity, tl.program_id(0), TILE, BLOCK)


def room_for_tap_tiles(rules: Rulebook) -> TapTiles:
    """Return where `tap_tiles` would write."""
    return rules.masks.new_empty(9, rules.masks.shape[0]), rules.masks.new_empty(16)


def tap_tiles(rules: Rulebook) -> TapTiles:
    """Return for each tap the tiles that have a row with a neighbour there."""
    tiles, counts = room_for_tap_tiles(rules)
    launch(
        _tap_tiles_kernel,
        (9,),
        rules.masks,
        rules.number,
        tiles,
        counts,
        rules.masks.shape[0],
        TILE=TILE,
        BLOCK=BLOCK_TILES,
    )
    return tiles, counts


@triton.jit
def _products_kernel(
    features,  # (T * TILE, CIN)
    lists,  # (T, 9, TILE)
    tiles,  # (9, T)
    counts,
    grad,  # (T * TILE, COUT)
    partial,  # (slots, BLOCK_M, BLOCK_N) float32
    capacity,  # T
    CIN: tl.constexpr,
    COUT: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    TILES_N: tl.constexpr = (CIN + BLOCK_N - 1) // BLOCK_N
    UNITS: tl.constexpr = TILES_N * ((COUT + BLOCK_M - 1) // BLOCK_M)
    PARTS: tl.constexpr = TILE // BLOCK_R
    program = tl.program_id(0)
    first, last, steps, programs = steps_of_program(
        counts, program, tl.num_programs(0), PARTS, UNITS
    )
    lane = tl.arange(0, BLOCK_R)
    at = first
    while at < last:
        tap, unit, begin, each = unit_of(counts, at, PARTS, UNITS)
        base, stride, turn, extra = step_of(program, programs, steps, begin, each, at)
        m = unit // TILES_N * BLOCK_M + tl.arange(0, BLOCK_M)
        n = unit % TILES_N * BLOCK_N + tl.arange(0, BLOCK_N)
        taken = tl.minimum(begin + each, last) - at
        acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for i in range(0, taken):
            step = tl.where(i < turn, base + i * stride, extra)
            tile = tl.load(tiles + tap * capacity + step // PARTS).to(tl.int64)
            row = step % PARTS * BLOCK_R + lane
            neighbour = tl.load(lists + (tile * 9 + tap) * TILE + row)
            place = tl.maximum(neighbour, 0).to(tl.int64)
            known = (neighbour >= 0)[:, None] & (n < CIN)[None, :]
            x = tl.load(features + place[:, None] * CIN + n[None, :], mask=known, other=0.0)
            at_grad = grad + (tile * TILE + row)[:, None] * COUT + m[None, :]
            if COUT % BLOCK_M == 0:
                g = tl.load(at_grad)
            else:
                g = tl.load(at_grad, mask=(m < COUT)[None, :], other=0.0)
            acc = tl.dot(tl.trans(g), x, acc, input_precision=PRECISION)
        # A segment belongs to one program and one unit: no two segments share a slot.
        slot = (program + tap * UNITS + unit).to(tl.int64) * (BLOCK_M * BLOCK_N)
        place = tl.arange(0, BLOCK_M)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
        tl.store(partial + slot + place, acc)
        at += taken


class WeightParts(NamedTuple):
    """The gradient of a weight in parts, for `finish` to add."""

    partial: Tensor  # (programs + 9 * units, block) float32; a unit is a tile of the weight
    counts: Tensor  # (9,) or more, how many tiles of rows each tap has
    out: Tensor  # (Cout, Cin, 3, 3), contiguous: where the gradient goes
    programs: int  # how many programs made the parts
    block: tuple[int, int]  # output and input channels of a tile of the weight
    steps: int  # how many steps a tile of rows took

    @property
    def units(self) -> int:
        """Tiles of the weight."""
        cout, cin = self.out.shape[:2]
        return cdiv(cout, self.block[0]) * cdiv(cin, self.block[1])

    @property
    def slots(self) -> int:
        """Parts of an entry, as a rule and at a tap of many tiles; a power of two."""
        return next_power_of_2(cdiv(self.programs, 9 * self.units) + 1)


def weight_gradient(
    features: Tensor,
    grad: Tensor,
    rules: Rulebook,
    taps: TapTiles,
    out: Tensor,
    choice: Choice | None = None,
) -> WeightParts | None:
    """Make the gradient of a convolution's weight, in parts that `finish` adds.

    out[:, :, o] = sum over rows s of grad[s]^T features[s + o]

    Args:
        features: (T * TILE, Cin) in the rulebook's order; float32, bfloat16 or float16.
        grad: (T * TILE, Cout) in features' dtype, zero in the last tile beyond the last row.
        rules: The rulebook, of T tiles, whose lists hold positions.
        taps: The tiles of each tap, from `tap_tiles`.
        out: (Cout, Cin, 3, 3), contiguous.
        choice: The kernel; None: the kernel that was measured to win.

    Returns:
        The parts; None: there are no rows, and `out` is zero already.
    """
    cout, cin = out.shape[:2]
    tiles, counts = taps
    capacity = rules.masks.shape[0]
    if not capacity:
        out.zero_()
        return None
    choice = choice or choose("weight_gradient", features, cin, cout)
    m, n, rows = choice.block_m, choice.block_n, choice.block_k
    units = cdiv(cout, m) * cdiv(cin, n)
    programs = programs_of(features.device, 2)
    partial = features.new_empty((programs + 9 * units, m * n), dtype=torch.float32)
    if choice.hopper:
        from .weight_gradient_hopper import weight_gradient_kernel

        launch(
            weight_gradient_kernel,
            (programs,),
            *(features, rules.lists, tiles, counts, descriptor(grad, (rows, m)), partial, capacity),
            CIN=cin,
            COUT=cout,
            TILE=TILE,
            BLOCK_M=m,
            BLOCK_N=n,
            BLOCK_R=rows,
            STAGES=choice.stages,
            **choice.options(),
        )
    else:
        launch(
            _products_kernel,
            (programs,),
            *(features, rules.lists, tiles, counts, grad, partial, capacity),
            CIN=cin,
            COUT=cout,
            PRECISION=precision(features.dtype),
            TILE=TILE,
            BLOCK_M=m,
            BLOCK_N=n,
            BLOCK_R=rows,
            **choice.options(),
        )
    return WeightParts(partial, counts, out, programs, (m, n), TILE // rows)
