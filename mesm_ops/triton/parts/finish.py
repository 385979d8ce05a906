# mypy: allow-untyped-defs
"""The last launch of a backward pass: all sums of parts, in a fixed order, that nothing waits for.

The gradients of one or two convolutions' weights, and those of the score's parameters.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from .launch import launch
from .score_gradients import BLOCK, BLOCK_D, FINISH_LINES, FINISH_WIDTH, ScoreParts
from .score_gradients_sums import finish_scores
from .weight_gradient import WeightParts

__all__ = ["finish"]

_PIECE = 64  # entries of a weight's tile, at all taps, that a program adds


@triton.jit
def _add_weight(
    partial,  # (slots, BLOCK_M, BLOCK_N)
    counts,
    out,  # (COUT, CIN, 9)
    programs,  # of the products
    program,
    CIN: tl.constexpr,
    COUT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PARTS: tl.constexpr,
    SLOTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add the parts of a piece of the gradient of a weight."""
    TILES_N: tl.constexpr = (CIN + BLOCK_N - 1) // BLOCK_N
    UNITS: tl.constexpr = TILES_N * ((COUT + BLOCK_M - 1) // BLOCK_M)
    PIECES: tl.constexpr = BLOCK_M * BLOCK_N // BLOCK
    unit = program // PIECES
    element = program % PIECES * BLOCK + tl.arange(0, BLOCK)
    steps = tl.zeros((), tl.int64)
    for tap in tl.static_range(9):
        steps += tl.load(counts + tap).to(tl.int64) * (PARTS * UNITS)
    steps = tl.maximum(steps, 1)
    sharing = tl.minimum(steps, programs)
    # All taps of an element stand side by side in `out`, so one program adds them all.
    column = tl.arange(0, 16)
    every = tl.zeros((BLOCK, 16), tl.float32)
    start = tl.zeros((), tl.int64)
    for tap in tl.static_range(9):
        each = tl.load(counts + tap).to(tl.int64) * PARTS
        begin = start + unit * each
        start += each * UNITS
        first = ((begin + 1) * sharing - 1) // steps
        number = tl.where(each > 0, ((begin + each) * sharing - 1) // steps - first + 1, 0)
        at = partial + (first + tap * UNITS + unit) * (BLOCK_M * BLOCK_N) + element[None, :]
        total = tl.zeros((BLOCK,), tl.float32)
        for done in range(0, number, SLOTS):  # as a rule once: all loads are then under way
            slot = done + tl.arange(0, SLOTS)
            part = tl.load(
                at + (slot * (BLOCK_M * BLOCK_N))[:, None], mask=(slot < number)[:, None], other=0.0
            )
            total += tl.sum(part, 0)
        every += tl.where(column[None, :] == tap, total[:, None], 0.0)
    m = unit // TILES_N * BLOCK_M + element // BLOCK_N
    n = unit % TILES_N * BLOCK_N + element % BLOCK_N
    at = out + ((m.to(tl.int64) * CIN + n) * 9)[:, None] + column[None, :]
    mask = ((m < COUT) & (n < CIN))[:, None] & (column < 9)[None, :]
    tl.store(at, every.to(out.dtype.element_ty), mask=mask)


@triton.jit(
    do_not_specialize=[
        *("programs1", "adds1", "programs2", "adds2", "number", "samples", "width"),
        *("adds", "queries", "weights"),
    ]
)
def _finish_kernel(
    partial1,  # a weight's gradient, as `WeightParts` has it; None: there is none
    counts1,
    out1,
    programs1,
    adds1,  # programs here
    partial2,
    counts2,
    out2,
    programs2,
    adds2,
    features,  # the score's gradients, as `ScoreParts` has them
    parts,
    of_sample,  # None: there are none
    query,
    query_weight,
    of_map_weight,
    of_query,
    of_map_bias,
    of_query_weight,
    of_score_weight,
    of_score_bias,
    number,
    length,
    samples,
    width,
    k,
    depth,
    adds,
    queries,
    weights,
    CIN1: tl.constexpr,
    COUT1: tl.constexpr,
    BLOCK_M1: tl.constexpr,
    BLOCK_N1: tl.constexpr,
    PARTS1: tl.constexpr,
    SLOTS1: tl.constexpr,
    CIN2: tl.constexpr,
    COUT2: tl.constexpr,
    BLOCK_M2: tl.constexpr,
    BLOCK_N2: tl.constexpr,
    PARTS2: tl.constexpr,
    SLOTS2: tl.constexpr,
    PIECE: tl.constexpr,
    BLOCK_LINES: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,  # rows of a product, and what is multiplied together
    BLOCK_D: tl.constexpr,
):
    program = tl.program_id(0)
    if partial1 is not None:
        if program < adds1:
            _add_weight(
                partial1, counts1, out1, programs1, program,
                CIN1, COUT1, BLOCK_M1, BLOCK_N1, PARTS1, SLOTS1, PIECE,
            )  # fmt: skip
        program -= adds1
    if partial2 is not None:
        if (program >= 0) & (program < adds2):
            _add_weight(
                partial2, counts2, out2, programs2, program,
                CIN2, COUT2, BLOCK_M2, BLOCK_N2, PARTS2, SLOTS2, PIECE,
            )  # fmt: skip
        program -= adds2
    if of_sample is not None:  # noqa: SIM102 - known to the compiler, unlike what comes next
        if program >= 0:
            finish_scores(
                features, parts, of_sample, query, query_weight, of_map_weight, of_query,
                of_map_bias, of_query_weight, of_score_weight, of_score_bias, program, number,
                length, samples, width, k, depth, adds, queries, weights,
                BLOCK_LINES, BLOCK_WIDTH, BLOCK, BLOCK_D,
            )  # fmt: skip


def finish(
    weight1: WeightParts | None = None,
    weight2: WeightParts | None = None,
    scores: ScoreParts | None = None,
) -> None:
    """Write the gradients that were left in parts; no parts: nothing is done for them.

    Args:
        weight1: As `weight_gradient` returned it.
        weight2: Likewise.
        scores: As `score_gradients` returned it.
    """
    given: list[Any] = []
    constants: list[tuple[int, ...]] = []
    programs = 0
    for weight in (weight1, weight2):
        if weight is None:
            given += [None, None, None, 0, 0]
            constants.append((0, 0, 0, 0, 0, 0))
            continue
        m, n = weight.block
        adds = weight.units * (m * n // _PIECE)
        given += [weight.partial, weight.counts, weight.out, weight.programs, adds]
        constants.append((*weight.out.shape[1::-1], m, n, weight.steps, weight.slots))
        programs += adds
    rest: tuple[Any, ...] = (None,) * 11 + (0,) * 9
    if scores is not None:
        rest = scores[:-1]
        programs += scores.adds + scores.queries + scores.weights + scores.columns
    if not programs:
        return
    (cin1, cout1, m1, n1, steps1, slots1), (cin2, cout2, m2, n2, steps2, slots2) = constants
    launch(
        _finish_kernel,
        (programs,),
        *given,
        *rest,
        CIN1=cin1,
        COUT1=cout1,
        BLOCK_M1=m1,
        BLOCK_N1=n1,
        PARTS1=steps1,
        SLOTS1=slots1,
        CIN2=cin2,
        COUT2=cout2,
        BLOCK_M2=m2,
        BLOCK_N2=n2,
        PARTS2=steps2,
        SLOTS2=slots2,
        PIECE=_PIECE,
        BLOCK_LINES=FINISH_LINES,
        BLOCK_WIDTH=FINISH_WIDTH,
        BLOCK=BLOCK,
        BLOCK_D=BLOCK_D,
    )
