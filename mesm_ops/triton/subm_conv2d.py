# mypy: allow-untyped-defs
"""subm_conv2d as implicit GEMM over a table of neighbours: rows are read where they lie.

Tiles are of rows in the rulebook's order, which have like neighbours; an offset at which no row of
a tile has one is skipped. Results stand where rows do.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..reference import SubmConv2d, SubmConv2dBackward, SubmConv2dGradients
from ._reductions import TILE_ROWS, column_sums, tile_statistics, tiles_of
from ._tuning import capability_of, magnitude_of, precision, prologue_first, tuned
from .neighbours import neighbour_table
from .rulebook import rules_of
from .weight_gradient import weight_gradient

__all__ = ["configurations", "convolve", "subm_conv2d", "subm_conv2d_backward", "weight_gradient"]

# A product of so many rows and channels loses to its missing neighbours what the order costs: two
# launches more, about 7 us, for a fifth of 18 FLOPs each at some 500 TFLOP/s.
_ORDER_PAYS = 10**9


@triton.jit(do_not_specialize=["magnitude"])
def _convolve(
    features,  # (N, CIN)
    table,  # (N, 9), of rows in that order
    order,  # (N,)
    weight,  # (9, CIN, COUT)
    bias,  # (COUT,)
    scale,  # (CIN,) float32
    shift,
    out,  # (N, COUT)
    partial,  # (tiles, 2, COUT) float32
    rows,
    magnitude,  # of the rows; not read, but configurations are chosen by it
    CIN: tl.constexpr,
    COUT: tl.constexpr,
    TURNED: tl.constexpr,  # the weight of offset o is that of -o
    ORDERED: tl.constexpr,
    BIAS: tl.constexpr,
    PROLOGUE: tl.constexpr,
    STATISTICS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    # Programs that share rows run side by side, so that the rows come from memory once.
    tiles_n = tl.cdiv(COUT, BLOCK_N)
    tile = (tl.program_id(0) // tiles_n).to(tl.int64)
    channel = tl.program_id(0) % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
    row = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    there = row < rows
    inside = channel < COUT

    # The offsets that any row has, four bits for each: one loop goes over these and the channels.
    offset = tl.arange(0, 16)
    mask = there[:, None] & (offset < 9)[None, :]
    neighbours = tl.load(table + row[:, None] * 9 + offset[None, :], mask=mask, other=-1)
    present = (tl.max(neighbours, 0) >= 0).to(tl.int64)
    place = (tl.cumsum(present, 0) - 1) * present
    taken = tl.sum((offset.to(tl.int64) << (4 * place)) * present, 0)
    blocks: tl.constexpr = (CIN + BLOCK_K - 1) // BLOCK_K
    steps = tl.sum(present, 0).to(tl.int32) * blocks

    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for step in range(0, steps):
        o = ((taken >> (step // blocks * 4)) & 15).to(tl.int32)
        k = step % blocks * BLOCK_K + tl.arange(0, BLOCK_K)
        neighbour = tl.load(table + row * 9 + o, mask=there, other=-1)
        at = features + neighbour.to(tl.int64)[:, None] * CIN + k[None, :]
        known = (neighbour >= 0)[:, None]
        if CIN % BLOCK_K != 0:
            known &= (k < CIN)[None, :]
        x = tl.load(at, mask=known, other=0.0)
        if PROLOGUE:
            if CIN % BLOCK_K == 0:
                factor, added = tl.load(scale + k), tl.load(shift + k)
            else:
                factor = tl.load(scale + k, mask=k < CIN, other=0.0)
                added = tl.load(shift + k, mask=k < CIN, other=0.0)
            wide = x.to(tl.float32) * factor[None, :] + added[None, :]
            x = tl.where(known & ~(wide <= 0), wide, 0.0).to(x.dtype)  # NaN stays
        turn = 8 - o if TURNED else o
        at = weight + (turn * CIN + k)[:, None] * COUT + channel[None, :]
        if CIN % BLOCK_K == 0 and COUT % BLOCK_N == 0:
            w = tl.load(at)
        else:
            w = tl.load(at, mask=(k < CIN)[:, None] & inside[None, :], other=0.0)
        acc = tl.dot(x, w, acc, input_precision=PRECISION)

    real = tl.load(table + row * 9 + 4, mask=there, other=-1) >= 0
    if BIAS:
        acc += tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
    if ORDERED:
        row = tl.load(order + row, mask=there, other=0).to(tl.int64)
    y = tl.where(real[:, None], acc, 0.0).to(out.dtype.element_ty)
    mask = there[:, None] & inside[None, :]
    tl.store(out + row[:, None] * COUT + channel[None, :], y, mask=mask)
    if STATISTICS:  # of what is stored, as a norm that reads it again would take them
        mean, squares = tile_statistics(y.to(tl.float32), real)
        at = partial + tile * (2 * COUT) + channel
        tl.store(at, mean, mask=inside)
        tl.store(at + COUT, squares, mask=inside)


def configurations(
    dtype: torch.dtype,
    cin: int,
    cout: int,
    *,
    prologue: bool = False,
    statistics: bool = False,
    capability: int = 9,
) -> list[triton.Config]:
    """Return the tiles that `_convolve` chooses from; none spills on a GPU of that capability.

    All have TILE_ROWS rows, which is what a tile's statistics stand for.

    Args:
        dtype: Of the features.
        cin: Input channels.
        cout: Output channels.
        prologue: Whether a norm is applied where rows are read.
        statistics: Whether those of the result are taken.
        capability: The major number of the GPU's compute capability.
    """
    half = dtype != torch.float32
    # 128 bytes of a row at a time; half of that where registers must hold more: of float32, and for
    # a prologue on a GPU whose products take their operands from registers too.
    deep = 64 if half else 32
    if (prologue and capability < 9) or ((prologue or statistics) and not half):
        deep //= 2
    deep = max(16, min(deep, triton.next_power_of_2(cin)))

    def config(n: int, warps: int, stages: int, registers: int | None = None) -> triton.Config:
        tile = {"BLOCK_N": n, "BLOCK_K": deep}
        return triton.Config(tile, num_warps=warps, num_stages=stages, maxnreg=registers)

    # So that about three tiles are on their way: looking up the neighbour takes stages of its own,
    # but where rows pass through registers; float32 has twice the bytes.
    stages = 3 if prologue or not half else 5
    # Narrow: few output channels, or so few rows that more programs are needed to fill the GPU.
    # Before capability 9, given a choice the compiler spills rather than hold statistics.
    registers = 224 if half and statistics and capability < 9 else None
    configs = [config(64, 4 if half else 8, stages, registers)]
    if cout > 64:  # square: a third fewer bytes are loaded for each product
        configs.append(config(128, 8, stages))
        if half and capability == 9 and not (prologue or statistics):
            # Two tiles on their way, but two programs on a multiprocessor.
            configs.append(config(128, 8, 3, registers=128))
    if cout > 128 and half and not (prologue or statistics):
        configs.append(config(256, 8, stages))  # a quarter fewer again
    return configs


def _prune(
    configs: list[triton.Config], named: dict[str, Any], **kwargs: Any
) -> list[triton.Config]:
    features = named["features"]
    return configurations(
        features.dtype,
        kwargs["CIN"],
        kwargs["COUT"],
        prologue=kwargs["PROLOGUE"],
        statistics=kwargs["STATISTICS"],
        capability=capability_of(features.device),
    )


_tuned = tuned(
    _convolve,
    configurations(torch.bfloat16, 512, 512),
    ["magnitude", "CIN", "COUT", "TURNED", "ORDERED", "PROLOGUE", "STATISTICS", "PRECISION"],
    _prune,
)


def convolve(
    features: Tensor,
    table: Tensor,
    weight: Tensor,
    *,
    order: Tensor | None = None,
    transposed: bool = False,
    bias: Tensor | None = None,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    statistics: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Convolve rows over a table of neighbours, with the stages before and after it if wanted.

    out[s] = bias + sum over o of weight[:, :, o] @ f(features[s + o]), with f the identity or
    max(scale * x + shift, 0); transposed: sum over o of weight[:, :, -o]^T @ f(features[s + o]),
    which takes the gradient of the result to that of the features.

    Args:
        features: (N, Cin); float32, bfloat16 or float16. Transposed: (N, Cout).
        table: (N, 9) int32, as `neighbour_table` returns it; of a `Rulebook`, with its order.
        weight: (Cout, Cin, 3, 3), any floating-point dtype; cast to that of features.
        order: (N,) int32: which row each of the table's is; padding comes last. None: the same.
        transposed: Run the convolution of the input gradient.
        bias: (Cout,), added to the rows that are not padding.
        scale: (Cin,) float32: a norm, followed by a ReLU, applied where rows are read, and rounded
            to the features' dtype as if it had been stored. None: nothing is applied.
        shift: (Cin,) float32, with scale.
        statistics: Return the statistics of the result, for `combine`.

    Returns:
        The result (N, Cout), zero in padding rows; then per tile of `TILE_ROWS` rows the mean and
        the sum of squared deviations of each channel, (T, 2, Cout) float32, or None.
    """
    features, scale = prologue_first(features, scale, shift)
    rows, cin = features.shape
    cout = weight.shape[1 if transposed else 0]
    # One copy brings it into the order of the tiles and into the features' dtype.
    packed = features.new_empty((9, cin, cout))
    packed.copy_(weight.flatten(2).permute((2, 0, 1) if transposed else (2, 1, 0)))
    out = features.new_empty((rows, cout))
    tiles = tiles_of(rows)
    partial = features.new_empty((tiles, 2, cout), dtype=torch.float32) if statistics else None

    def grid(meta: dict[str, Any]) -> tuple[int]:
        return (tiles * triton.cdiv(cout, meta["BLOCK_N"]),)

    _tuned[grid](
        features,
        table,
        order,
        packed,
        bias,
        scale,
        shift,
        out,
        partial,
        rows,
        magnitude_of(rows),
        CIN=cin,
        COUT=cout,
        TURNED=transposed,
        ORDERED=order is not None,
        BIAS=bias is not None,
        PROLOGUE=scale is not None,
        STATISTICS=statistics,
        PRECISION=precision(features.dtype),
        BLOCK_M=TILE_ROWS,
    )
    return out, partial


def subm_conv2d(a: SubmConv2d) -> Tensor:
    """Run the op of that name."""
    place = (a.sites, a.offsets, a.height, a.width)
    rows, (cout, cin) = a.sites.shape[0], a.weight.shape[:2]
    if rows * cin * cout < _ORDER_PAYS:
        return convolve(a.features, neighbour_table(*place), a.weight, bias=a.bias)[0]
    rules = rules_of(*place)
    return convolve(a.features, rules.table, a.weight, order=rules.order, bias=a.bias)[0]


def subm_conv2d_backward(a: SubmConv2dBackward) -> SubmConv2dGradients:
    """Run the op of that name."""
    weight = a.weight
    of_features, of_weight, of_bias = (
        a.features.new_empty(0),
        weight.new_empty(0),
        weight.new_empty(0),
    )
    if a.needs_features or a.needs_weight:
        rules = rules_of(a.sites, a.offsets, a.height, a.width)
        if a.needs_features:
            of_features = convolve(
                a.grad_out, rules.table, weight, order=rules.order, transposed=True
            )[0]
        if a.needs_weight:
            of_weight = weight_gradient(a.features, a.grad_out, rules, dtype=weight.dtype)
    if a.needs_bias:
        of_bias = column_sums(a.grad_out, a.offsets).to(weight.dtype)
    return SubmConv2dGradients(of_features, of_weight, of_bias)
