# mypy: allow-untyped-defs
"""Submanifold convolution of rows in sorted order, as an implicit product of matrices.

Rows of like neighbours stand side by side in tiles, and a tap at which no row of a tile has a
neighbour is left out. An epilogue, the block's step after the product, runs before the store.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .choice import Choice, choose, descriptor
from .launch import launch
from .products import precision
from .rulebook import Rulebook
from .sizes import cdiv, programs_of
from .tiles import TILE, taps_of, tiles_of

__all__ = ["Epilogue", "Parts", "convolve", "partial_rows"]


class Epilogue(IntEnum):
    """The step that a result y goes through before the store."""

    NONE = 0
    NORM = 1  # y becomes max(scale * y + shift, 0)
    MOMENTS = 2  # statistics of each part of the rows, for `combine`
    NORM_SUMS = 3  # sums of g and g * (before - middle), g = y where scale * before + shift > 0


class Parts(NamedTuple):
    """How many partial sums over the rows a convolution wrote; parts take tiles in turns."""

    number: int
    centred: bool  # moments are mean and squared deviations, not sums of y and of its square


@triton.jit
def _convolve_kernel(
    features,  # (T * TILE, CIN); ORDERED: (N, CIN)
    lists,  # (T, 9, TILE)
    masks,  # (T,)
    order,  # (T * TILE,)
    weight,  # (9, CIN, COUT); TURNED: (9, COUT, CIN)
    bias,  # (COUT,)
    out,  # (T * TILE, COUT); ORDERED: (N, COUT)
    before,  # (T * TILE, COUT)
    number,  # (1,) how many rows there are
    scale,  # (COUT,) float32
    shift,
    middle,
    partial,  # (T, 2, COUT) float32
    rows,  # N
    CIN: tl.constexpr,
    COUT: tl.constexpr,
    TURNED: tl.constexpr,
    ORDERED: tl.constexpr,
    BIAS: tl.constexpr,
    EPILOGUE: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    # Programs that share rows run side by side, so that the rows come from memory once.
    tiles_n: tl.constexpr = (COUT + BLOCK_N - 1) // BLOCK_N
    tile = tl.program_id(0) // tiles_n
    channel = tl.program_id(0) % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = channel < COUT
    row = tile.to(tl.int64) * TILE + tl.arange(0, TILE)
    there = row < tl.load(number)
    word = taps_of(tl.load(masks + tile, mask=tile * TILE < tl.load(number), other=0))
    blocks: tl.constexpr = (CIN + BLOCK_K - 1) // BLOCK_K
    acc = tl.zeros((TILE, BLOCK_N), tl.float32)
    for step in range(0, (word & 15).to(tl.int32) * blocks):
        tap = ((word >> (4 * (step // blocks + 1))) & 15).to(tl.int32)
        k = step % blocks * BLOCK_K + tl.arange(0, BLOCK_K)
        neighbour = tl.load(lists + (tile * 9 + tap).to(tl.int64) * TILE + tl.arange(0, TILE))
        known = (neighbour >= 0)[:, None]
        if CIN % BLOCK_K != 0:
            known &= (k < CIN)[None, :]
        place = tl.maximum(neighbour, 0).to(tl.int64)
        x = tl.load(features + place[:, None] * CIN + k[None, :], mask=known, other=0.0)
        exact: tl.constexpr = CIN % BLOCK_K == 0 and COUT % BLOCK_N == 0
        if TURNED:
            at = weight + ((8 - tap) * COUT + channel[:, None]) * CIN + k[None, :]
            if exact:
                w = tl.load(at)
            else:
                w = tl.load(at, mask=inside[:, None] & (k < CIN)[None, :], other=0.0)
            w = tl.trans(w)
        else:
            at = weight + (tap * CIN + k[:, None]) * COUT + channel[None, :]
            if exact:
                w = tl.load(at)
            else:
                w = tl.load(at, mask=(k < CIN)[:, None] & inside[None, :], other=0.0)
        acc = tl.dot(x, w, acc, input_precision=PRECISION)

    if BIAS:
        acc += tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
    if EPILOGUE == 1:
        acc *= tl.load(scale + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
        acc += tl.load(shift + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
        acc = tl.where(acc <= 0, 0.0, acc)  # NaN stays
    y = acc.to(out.dtype.element_ty)
    if ORDERED:  # padding rows stand behind the real rows, and become zero
        to = tl.load(order + row, mask=there, other=0).to(tl.int64)
        to = tl.where(there, to, row)
        mask = (row < rows)[:, None] & inside[None, :]
        tl.store(
            out + to[:, None] * COUT + channel[None, :], tl.where(there[:, None], y, 0.0), mask
        )
    elif tile * TILE < tl.load(number):  # the last tile is filled up with zeros
        y = tl.where(there[:, None], y, 0.0)
        tl.store(out + row[:, None] * COUT + channel[None, :], y, mask=inside[None, :])
    if EPILOGUE >= 2:
        real = there[:, None] & inside[None, :]
        first = y.to(tl.float32)
        if EPILOGUE == 2:  # the mean, and the sum of squared deviations from the mean
            here = tl.maximum(tl.sum(there.to(tl.float32), 0), 1.0)
            mean = tl.sum(tl.where(real, first, 0.0), 0) / here
            away = tl.where(real, first - mean[None, :], 0.0)
            left = tl.sum(away, 0) / here  # the rounding error of the mean
            first, second = mean + left, tl.sum(away * away, 0) - here * left * left
        else:
            x = tl.load(before + row[:, None] * COUT + channel[None, :], mask=real, other=0.0)
            x = x.to(tl.float32)
            value = x * tl.load(scale + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
            value += tl.load(shift + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
            first = tl.where((value <= 0) | (real == 0), 0.0, first)
            second = first * (
                x - tl.load(middle + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
            )
            first, second = tl.sum(first, 0), tl.sum(second, 0)
        at = partial + tile.to(tl.int64) * (2 * COUT) + channel
        tl.store(at, first, mask=inside)
        tl.store(at + COUT, second, mask=inside)


def partial_rows(rows: int, device: torch.device) -> int:
    """Return the most partial sums that `convolve` makes.

    Args:
        rows: How many rows there can be.
        device: The rows' device.
    """
    return max(tiles_of(rows), programs_of(device, 2))


def convolve(
    features: Tensor,
    rules: Rulebook,
    weight: Tensor,
    out: Tensor,
    *,
    transposed: bool = False,
    bias: Tensor | None = None,
    epilogue: Epilogue = Epilogue.NONE,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    middle: Tensor | None = None,
    before: Tensor | None = None,
    partial: Tensor | None = None,
    choice: Choice | None = None,
) -> Parts:
    """Convolve rows over a rulebook, into `out`; return the parts written to `partial`.

    out[s] = bias + sum over taps o of features[s + o] @ weight[o], and with `transposed`
    sum over taps o of features[s + o] @ weight[-o]^T, which turns the gradient of a result into the
    gradient of its features.

    Args:
        features: (T * TILE, Cin) in the rulebook's order, or (N, Cin) if `Rulebook.order` is given;
            float32, bfloat16 or float16.
        rules: The rulebook, of T tiles.
        weight: (9, Cin, Cout) in features' dtype; transposed, (9, Cout, Cin).
        out: (T * TILE, Cout) or (N, Cout), in features' dtype. Rows beyond `rules.number` are not
            written, except in the last tile, where such rows become zero.
        transposed: Run the convolution of the input gradient.
        bias: (Cout,), added to every row.
        epilogue: The step before the store.
        scale: (Cout,) float32, for NORM and NORM_SUMS.
        shift: (Cout,) float32, likewise.
        middle: (Cout,) float32, for NORM_SUMS.
        before: (T * TILE, Cout), likewise.
        partial: (`partial_rows`, 2, Cout) float32, where MOMENTS and NORM_SUMS write.
        choice: The kernel; None: the kernel that was measured to win.

    Returns:
        How many parts were written, and whether their moments are centred.
    """
    tiles = rules.lists.shape[0]
    cin = features.shape[1]
    cout = out.shape[1]
    if not tiles:
        return Parts(0, centred=True)
    plain = rules.order is not None or bias is not None
    if choice is None:
        choice = choose("convolution", features, cin, cout, transposed, plain=plain)
    if choice.hopper:
        return _convolve_hopper(
            choice,
            features,
            rules,
            weight,
            out,
            transposed,
            epilogue,
            scale,
            shift,
            middle,
            before,
            partial,
        )
    columns = cdiv(cout, choice.block_n)
    launch(
        _convolve_kernel,
        (tiles * columns,),
        features,
        rules.lists,
        rules.masks,
        rules.order,
        weight,
        bias,
        out,
        before,
        rules.number,
        scale,
        shift,
        middle,
        partial,
        out.shape[0],
        CIN=cin,
        COUT=cout,
        TURNED=transposed,
        ORDERED=rules.order is not None,
        BIAS=bias is not None,
        EPILOGUE=int(epilogue),
        PRECISION=precision(features.dtype),
        TILE=TILE,
        BLOCK_N=choice.block_n,
        BLOCK_K=choice.block_k,
        **choice.options(),
    )
    return Parts(tiles, centred=True)


def _convolve_hopper(
    choice: Choice,
    features: Tensor,
    rules: Rulebook,
    weight: Tensor,
    out: Tensor,
    transposed: bool,
    epilogue: Epilogue,
    scale: Tensor | None,
    shift: Tensor | None,
    middle: Tensor | None,
    before: Tensor | None,
    partial: Tensor | None,
) -> Parts:
    from .convolution_hopper import convolve_kernel

    cin, cout, n, k = features.shape[1], out.shape[1], choice.block_n, choice.block_k
    columns = cout // n
    programs = programs_of(features.device, 2) // columns * columns
    unread = rules.number  # any tensor, where an epilogue reads none
    launch(
        convolve_kernel,
        (programs,),
        features,
        rules.lists,
        rules.masks,
        descriptor(weight.view(-1, weight.shape[2]), (n, k) if transposed else (k, n)),
        descriptor(out, (TILE, n)),
        descriptor(out if before is None else before, (TILE, n)),
        rules.number,
        unread if scale is None else scale,
        unread if shift is None else shift,
        unread if middle is None else middle,
        unread if partial is None else partial,
        columns,
        CIN=cin,
        COUT=cout,
        TURNED=transposed,
        EPILOGUE=int(epilogue),
        TILE=TILE,
        BLOCK_N=n,
        BLOCK_K=k,
        STAGES=choice.stages,
        **choice.options(),
    )
    return Parts(programs // columns, centred=False)
