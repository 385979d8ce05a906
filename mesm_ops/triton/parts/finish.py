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

_LOADED = 8192  # parts that a program loads at a time: of SLOTS programs, 16 taps and some entries
_FEWEST_ENTRIES = 16  # of a weight's tile, for a program: 64 bytes of each part


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
    WIDE: tl.constexpr,
):
    """Add the parts of BLOCK entries of the gradient of a weight, at all taps.

    WIDE: steps times programs may not fit into 32 bits; divisions of 64 bits take long.
    """
    TILES_N: tl.constexpr = (CIN + BLOCK_N - 1) // BLOCK_N
    UNITS: tl.constexpr = TILES_N * ((COUT + BLOCK_M - 1) // BLOCK_M)
    PIECES: tl.constexpr = BLOCK_M * BLOCK_N // BLOCK
    unit = program // PIECES
    element = program % PIECES * BLOCK + tl.arange(0, BLOCK)
    tap = tl.arange(0, 16)
    count = tl.load(counts + tap, mask=tap < 9, other=0)
    if WIDE:
        count = count.to(tl.int64)
    # Where the steps of this unit begin and end at each tap, as in `tiles.steps_of_program`.
    each = count * PARTS
    begin = tl.cumsum(each * UNITS, 0) - each * UNITS + unit * each
    steps = tl.maximum(tl.sum(each, 0) * UNITS, 1)
    sharing = tl.minimum(steps, programs)
    first = ((begin + 1) * sharing - 1) // steps
    number = tl.where(each > 0, ((begin + each) * sharing - 1) // steps - first + 1, 0)
    slot = (first + tap * UNITS + unit).to(tl.int64)
    at = partial + (slot * (BLOCK_M * BLOCK_N))[:, None] + element[None, :]
    total = tl.zeros((16, BLOCK), tl.float32)
    for done in range(0, tl.max(number, 0), SLOTS):  # as a rule once: all loads are then under way
        part = done + tl.arange(0, SLOTS)
        here = at[None, :, :] + (part.to(tl.int64) * (BLOCK_M * BLOCK_N))[:, None, None]
        held = part[:, None, None] < number[None, :, None]
        total += tl.sum(tl.load(here, mask=held, other=0.0), 0)
    m = unit // TILES_N * BLOCK_M + element // BLOCK_N
    n = unit % TILES_N * BLOCK_N + element % BLOCK_N
    # All taps of an entry stand side by side in `out`.
    place = out + ((m.to(tl.int64) * CIN + n) * 9)[None, :] + tap[:, None]
    mask = ((m < COUT) & (n < CIN))[None, :] & (tap < 9)[:, None]
    tl.store(place, total.to(out.dtype.element_ty), mask=mask)


@triton.jit(
    do_not_specialize=[
        *("programs1", "adds1", "programs2", "adds2", "number", "samples", "width"),
        *("adds", "queries", "weights", "programs_of_scores"),
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
    programs_of_scores,
    CIN1: tl.constexpr,
    COUT1: tl.constexpr,
    BLOCK_M1: tl.constexpr,
    BLOCK_N1: tl.constexpr,
    PARTS1: tl.constexpr,
    SLOTS1: tl.constexpr,
    BLOCK1: tl.constexpr,
    WIDE1: tl.constexpr,
    CIN2: tl.constexpr,
    COUT2: tl.constexpr,
    BLOCK_M2: tl.constexpr,
    BLOCK_N2: tl.constexpr,
    PARTS2: tl.constexpr,
    SLOTS2: tl.constexpr,
    BLOCK2: tl.constexpr,
    WIDE2: tl.constexpr,
    BLOCK_LINES: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,  # rows of a product, and what is multiplied together
    BLOCK_D: tl.constexpr,
):
    # The scores' programs, which take longest, come first.
    program = tl.program_id(0)
    if of_sample is not None:
        if program < programs_of_scores:
            finish_scores(
                features, parts, of_sample, query, query_weight, of_map_weight, of_query,
                of_map_bias, of_query_weight, of_score_weight, of_score_bias, program, number,
                length, samples, width, k, depth, adds, queries, weights,
                BLOCK_LINES, BLOCK_WIDTH, BLOCK, BLOCK_D,
            )  # fmt: skip
        program -= programs_of_scores
    if partial1 is not None:
        if (program >= 0) & (program < adds1):
            _add_weight(
                partial1, counts1, out1, programs1, program,
                CIN1, COUT1, BLOCK_M1, BLOCK_N1, PARTS1, SLOTS1, BLOCK1, WIDE1,
            )  # fmt: skip
        program -= adds1
    if partial2 is not None:  # noqa: SIM102 - known to the compiler, unlike what comes next
        if (program >= 0) & (program < adds2):
            _add_weight(
                partial2, counts2, out2, programs2, program,
                CIN2, COUT2, BLOCK_M2, BLOCK_N2, PARTS2, SLOTS2, BLOCK2, WIDE2,
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
    constants: dict[str, Any] = {}
    programs = 0
    names = ("CIN", "COUT", "BLOCK_M", "BLOCK_N", "PARTS", "SLOTS", "BLOCK", "WIDE")
    for place, weight in (("1", weight1), ("2", weight2)):
        values: tuple[Any, ...] = (0,) * 7 + (False,)
        if weight is None:
            given += [None, None, None, 0, 0]
        else:
            m, n = weight.block
            slots = min(weight.slots, _LOADED // 16 // _FEWEST_ENTRIES)
            block = _LOADED // 16 // slots
            adds = weight.units * (m * n // block)
            given += [weight.partial, weight.counts, weight.out, weight.programs, adds]
            values = (*weight.out.shape[1::-1], m, n, weight.steps, slots, block, weight.wide)
            programs += adds
        constants |= {f"{name}{place}": value for name, value in zip(names, values, strict=True)}
    rest: tuple[Any, ...] = (None,) * 11 + (0,) * 10
    if scores is not None:
        for_scores = scores.adds + scores.queries + scores.weights + scores.columns
        rest = (*scores[:-1], for_scores)
        programs += for_scores
    if not programs:
        return
    launch(
        _finish_kernel,
        (programs,),
        *given,
        *rest,
        **constants,
        BLOCK_LINES=FINISH_LINES,
        BLOCK_WIDTH=FINISH_WIDTH,
        BLOCK=BLOCK,
        BLOCK_D=BLOCK_D,
        num_warps=8,
        # Two programs on a multiprocessor, though the products of the scores want more registers.
        maxnreg=None if scores is None else 128,
    )
