# mypy: allow-untyped-defs
"""The weight gradient of subm_conv2d: for each kernel offset a product over its pairs, in parts."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._tuning import capability_of, magnitude_of, precision, prologue_first, tuned
from .rulebook import Rulebook

__all__ = ["weight_gradient"]

# So many programs are aimed at: two for each of an H200's 132 multiprocessors. A constant, not the
# GPU's own number, so that the order of the sums, hence every bit, follows from shapes alone.
_PROGRAMS = 264
_ROWS_AT_LEAST = 512  # of a part: fewer cost more to add up than they save
_BLOCK_SUM = 128


@triton.jit(do_not_specialize=["magnitude"])
def _weight_gradient(
    features,  # (N, CIN)
    grad,  # (N, COUT)
    pairs,  # (9, N)
    numbers,  # (16,): of the pairs of each offset
    scale,  # (CIN,) float32
    shift,
    partial,  # (splits, 9, COUT, CIN) float32
    rows,
    splits,
    magnitude,  # of the rows; not read, but configurations are chosen by it
    CIN: tl.constexpr,
    COUT: tl.constexpr,
    PROLOGUE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_COUT: tl.constexpr,
    BLOCK_CIN: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    # The nine offsets of one tile run side by side: they read the same rows.
    o = tl.program_id(0) % 9
    tile = tl.program_id(0) // 9
    split = tl.program_id(1)
    tiles_in = tl.cdiv(CIN, BLOCK_CIN)
    cout = tile // tiles_in * BLOCK_COUT + tl.arange(0, BLOCK_COUT)
    cin = tile % tiles_in * BLOCK_CIN + tl.arange(0, BLOCK_CIN)
    in_cout, in_cin = cout < COUT, cin < CIN
    if PROLOGUE:
        factor = tl.load(scale + cin, mask=in_cin, other=0.0)
        added = tl.load(shift + cin, mask=in_cin, other=0.0)

    count = tl.load(numbers + o)
    # Of offset o, rows ascend, and so do their neighbours: those are the rows of offset 8 - o.
    rows_of = pairs + o.to(tl.int64) * rows
    neighbours_of = pairs + (8 - o).to(tl.int64) * rows
    share = tl.cdiv(tl.cdiv(count, BLOCK_R), splits) * BLOCK_R
    end = tl.minimum((split + 1) * share, count)
    acc = tl.zeros((BLOCK_COUT, BLOCK_CIN), tl.float32)
    for start in range(split * share, end, BLOCK_R):
        pair = start + tl.arange(0, BLOCK_R)
        row = tl.load(rows_of + pair, mask=pair < end, other=0).to(tl.int64)
        neighbour = tl.load(neighbours_of + pair, mask=pair < end, other=0).to(tl.int64)
        known = (pair < end)[:, None]
        at = grad + row[:, None] * COUT + cout[None, :]
        g = tl.load(at, mask=known & in_cout[None, :], other=0.0)
        at = features + neighbour[:, None] * CIN + cin[None, :]
        x = tl.load(at, mask=known & in_cin[None, :], other=0.0)
        if PROLOGUE:
            wide = x.to(tl.float32) * factor[None, :] + added[None, :]
            x = tl.where(known & ~(wide <= 0), wide, 0.0).to(x.dtype)  # NaN stays
        acc = tl.dot(tl.trans(g), x, acc, input_precision=PRECISION)

    at = (split.to(tl.int64) * 9 + o) * (COUT * CIN) + cout[:, None] * CIN + cin[None, :]
    tl.store(partial + at, acc, mask=in_cout[:, None] & in_cin[None, :])


@triton.jit
def _sum_splits(
    partial,  # (splits, 9, SIZE) float32
    out,  # (SIZE, 9)
    splits,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    offset = tl.arange(0, 16)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = (offset < 9)[:, None] & (at < SIZE)[None, :]
    acc = tl.zeros((16, BLOCK), tl.float32)
    part = partial + offset[:, None] * SIZE + at[None, :]
    for _ in range(0, splits):
        acc += tl.load(part, mask=mask, other=0.0)
        part += 9 * SIZE
    tl.store(out + at[None, :] * 9 + offset[:, None], acc.to(out.dtype.element_ty), mask=mask)


def block(channels: int) -> int:
    """Return how many of so many channels a program takes at a time."""
    return min(128, max(16, triton.next_power_of_2(channels)))


def configurations(
    dtype: torch.dtype, cin: int, cout: int, *, prologue: bool = False, capability: int = 9
) -> list[triton.Config]:
    """Return what `_weight_gradient` chooses from; none spills on a GPU of that capability.

    The tile follows from the channels; left to choose is how many of its rows are taken at a time.

    Args:
        dtype: Of the features.
        cin: Input channels.
        cout: Output channels.
        prologue: Whether a norm is applied where rows are read.
        capability: The major number of the GPU's compute capability.
    """

    def config(rows: int, warps: int, stages: int) -> triton.Config:
        return triton.Config({"BLOCK_R": rows}, num_warps=warps, num_stages=stages)

    # Two groups of four warps for a large tile's accumulators; one for a small tile, but where
    # products take their operands from registers.
    warps = 4 if capability >= 9 and block(cin) * block(cout) <= 128 * 64 else 8
    if dtype == torch.float32:
        return [config(32, warps, 3), config(32, warps, 5)]
    if capability < 9 and prologue:  # both operands in registers
        return [config(32, 8, 3), config(64, 8, 3)]
    # Five stages hold three blocks: looking up the neighbour takes the others.
    return [config(64, warps, 5), config(128, 8, 3)]


def _prune(
    configs: list[triton.Config], named: dict[str, Any], **kwargs: Any
) -> list[triton.Config]:
    features = named["features"]
    return configurations(
        features.dtype,
        kwargs["CIN"],
        kwargs["COUT"],
        prologue=kwargs["PROLOGUE"],
        capability=capability_of(features.device),
    )


_tuned = tuned(
    _weight_gradient,
    configurations(torch.bfloat16, 128, 128),
    ["magnitude", "CIN", "COUT", "PROLOGUE", "PRECISION"],
    _prune,
)


def weight_gradient(
    features: Tensor,
    grad: Tensor,
    rules: Rulebook,
    *,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the gradient of the weight: at o, the sum over rows s of grad[s] f(features[s + o])^T.

    Args:
        features: (N, Cin); float32, bfloat16 or float16.
        grad: (N, Cout), features' dtype; padding rows are not read.
        rules: The rulebook of their sites.
        scale: (Cin,) float32, of f(x) = max(scale * x + shift, 0); None: f is the identity.
        shift: (Cin,) float32, with scale.
        dtype: Of the result; sums are float32.

    Returns:
        (Cout, Cin, 3, 3).
    """
    features, scale = prologue_first(features, scale, shift)
    rows, cin = features.shape
    cout = grad.shape[1]
    block_cout, block_cin = block(cout), block(cin)
    tiles = triton.cdiv(cout, block_cout) * triton.cdiv(cin, block_cin)
    splits = max(1, min(_PROGRAMS // (9 * tiles), triton.cdiv(rows, _ROWS_AT_LEAST)))
    partial = features.new_empty((splits, 9, cout, cin), dtype=torch.float32)
    out = features.new_empty((cout, cin, 3, 3), dtype=dtype)
    _tuned[(9 * tiles, splits)](
        features,
        grad,
        rules.pairs,
        rules.numbers,
        scale,
        shift,
        partial,
        rows,
        splits,
        magnitude_of(rows),
        CIN=cin,
        COUT=cout,
        PROLOGUE=scale is not None,
        PRECISION=precision(features.dtype),
        BLOCK_COUT=block_cout,
        BLOCK_CIN=block_cin,
    )
    _sum_splits[(triton.cdiv(cout * cin, _BLOCK_SUM),)](
        partial, out, splits, SIZE=cout * cin, BLOCK=_BLOCK_SUM
    )
    return out
