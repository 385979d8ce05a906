# mypy: allow-untyped-defs
"""The tiles of rows in sorted order, and which program computes which steps."""

from __future__ import annotations

import triton
import triton.language as tl

from .layout import TILE, tiles_of

__all__ = ["TILE", "step_of", "steps_of_program", "taps_of", "tiles_of", "unit_of"]


@triton.jit
def taps_of(mask):
    """Return a tile's taps in an integer: four bits for their number, then four for each tap."""
    word = mask.to(tl.int64) * 0
    count = mask * 0
    for tap in tl.static_range(9):
        bit = (mask >> tap) & 1
        word |= (bit * tap).to(tl.int64) << (4 * (count + 1))
        count += bit
    return word | count.to(tl.int64)


@triton.jit
def steps_of_program(counts, program, programs, PARTS: tl.constexpr, UNITS: tl.constexpr):
    """Return a program's first step, the next program's, all steps, and how many programs share.

    The steps of all units stand in a row, which the programs share evenly; where there are fewer
    steps than programs, as many programs as steps share. A unit is a tap and one of UNITS tiles of
    the weight; the unit has PARTS steps for each tile of rows that has the tap.
    """
    steps = tl.load(counts) * 0
    for tap in tl.static_range(9):
        steps += tl.load(counts + tap) * (PARTS * UNITS)
    sharing = tl.maximum(tl.minimum(steps, programs), 1)
    wide = steps.to(tl.int64)
    first = (wide * tl.minimum(program, sharing) // sharing).to(tl.int32)
    last = (wide * tl.minimum(program + 1, sharing) // sharing).to(tl.int32)
    return first, last, steps, sharing


@triton.jit
def unit_of(counts, at, PARTS: tl.constexpr, UNITS: tl.constexpr):
    """Return tap and unit of the step at a place in the row, where the unit begins, its steps."""
    tap = at * 0
    begin = at * 0
    start = at * 0
    each = tl.load(counts) * PARTS
    for o in tl.static_range(1, 9):
        start += tl.load(counts + (o - 1)) * (PARTS * UNITS)
        reached = at >= start
        tap = tl.where(reached, o, tap)
        begin = tl.where(reached, start, begin)
        each = tl.where(reached, tl.load(counts + o) * PARTS, each)
    each = tl.maximum(each, 1)
    unit = (at - begin) // each
    return tap, unit, begin + unit * each, each


@triton.jit
def step_of(program, programs, steps, begin, each, at):
    """Return how a program walks through a unit from the place `at`: base, stride, turn and extra.

    Its i-th step is base + i * stride for i < turn, and extra for i = turn. The programs that are
    inside a unit as a whole take its steps in turns, so that all these programs read the same
    region of rows at the same time, from the cache; the programs at the unit's ends take the rest.
    """
    wide = steps.to(tl.int64)
    end = (begin + each).to(tl.int64)
    inside = ((begin.to(tl.int64) * programs + wide - 1) // wide).to(tl.int32)
    after = tl.minimum((((end + 1) * programs - 1) // wide).to(tl.int32), programs)
    number = after - inside  # programs that are inside as a whole
    first = (wide * inside // programs).to(tl.int32)
    last = (wide * after // programs).to(tl.int32)
    shortest = steps // programs
    mine = program - inside
    whole = (mine >= 0) & (program < after)
    full = tl.where(number > 0, last - first, 0)
    base = tl.where(number > 0, full + tl.where(mine < 0, 0, first - begin), at - begin)
    base = tl.where(whole, mine, base)
    stride = tl.where(whole, number, 1)
    turn = tl.where(whole, shortest, each)
    extra = number * shortest + at - first - mine * shortest
    return base, stride, turn, extra
