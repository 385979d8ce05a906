# mypy: allow-untyped-defs
"""One launch for all small work that comes before the passes over the rows.

Its parts run side by side, each in programs of its own: the query's projection, a check of the
lengths, the sample of each row and of each program of the backward pass, weights in the dtype and
the order of their products, and norms of running statistics as scale and shift.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...extension import triton_interprets
from .launch import call, launch
from .products import precision
from .schedule import Schedule
from .sizes import cdiv

__all__ = ["Fold", "Pack", "prepare"]

_BLOCK_B, _BLOCK_K = 16, 16  # samples and columns of the query's projection
_BLOCK_OUT, _BLOCK_IN = 64, 64  # rows of a weight, and entries of a row
_BLOCK_MAP = 4096  # entries of map_weight
_BLOCK_FOLD = 128  # channels of a norm
_BLOCK_ROWS = 512  # rows whose sample is written at a time
_BLOCK_SAMPLES = 512
_PADDING_PROGRAMS = 64  # the most programs that write padding


class Pack(NamedTuple):
    """A convolution's weight, to be laid out for its products."""

    weight: Tensor  # (Cout, Cin, 3, 3), any dtype
    packed: Tensor  # (9, Cin, Cout) in features' dtype, written


class Fold(NamedTuple):
    """A norm of running statistics, to become scale * x + shift."""

    weight: Tensor  # (C,), as all tensors here; the first four of any dtype
    bias: Tensor
    mean: Tensor
    var: Tensor
    eps: float
    scale: Tensor  # float32 and written, as the three that follow
    shift: Tensor
    mean_out: Tensor
    var_out: Tensor


def prepare(
    features: Tensor,
    offsets: Tensor,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    projected_query: Tensor,
    mapped: Tensor | None = None,
    sample_of_row: Tensor | None = None,
    plan: Schedule | None = None,
    schedule: Tensor | None = None,
    packs: tuple[Pack, ...] = (),
    folds: tuple[Fold, ...] = (),
) -> None:
    """Write `projected_query`, and those of the arguments after `projected_query` that are given.

    Args:
        features: (N, C), not read: query and parameters are rounded to its dtype.
        offsets: (F + 1,) int32.
        query: (B, D).
        lengths: (B,) int64 or int32; None: a sample is a frame.
        map_weight: (k, C).
        map_bias: (k,).
        query_weight: (k, D).
        projected_query: (B, k) float32, written: query @ query_weight.T + map_bias.
        mapped: (k, C) in features' dtype, written: map_weight.
        sample_of_row: (N,) int32, written: -1 in padding.
        plan: The schedule from `schedule_of`.
        schedule: (plan.size,) int32, written.
        packs: Up to two weights.
        folds: Up to two norms.

    Raises:
        ValueError: On a CPU, lengths are negative or do not sum to F. A GPU stops with an
            assertion that says so.
    """
    rows, frames = features.shape[0], offsets.shape[0] - 1
    (samples, depth), k = query.shape, query_weight.shape[0]
    if lengths is not None and triton_interprets():  # the interpreter runs no assertion
        call(_check_lengths, lengths, frames)
    pack1, pack2 = (*packs, None, None)[:2]
    fold1, fold2 = (*folds, None, None)[:2]
    packs1, packs2 = (
        cdiv(pack.weight.shape[0], _BLOCK_OUT) * cdiv(9 * pack.weight.shape[1], _BLOCK_IN)
        if pack is not None
        else 0
        for pack in (pack1, pack2)
    )
    folds1, folds2 = (
        cdiv(fold.scale.shape[0], _BLOCK_FOLD) if fold is not None else 0 for fold in (fold1, fold2)
    )
    checks = int(lengths is not None)
    projections = cdiv(samples, _BLOCK_B) * cdiv(k, _BLOCK_K)
    schedules = 0 if schedule is None else max(samples, 1)
    maps = 0 if mapped is None else cdiv(mapped.numel(), _BLOCK_MAP)
    fills = paddings = 0
    if sample_of_row is not None:
        fills, paddings = frames, min(_PADDING_PROGRAMS, cdiv(rows, _BLOCK_ROWS))
    programs = checks + projections + schedules + packs2 + packs1 + maps + fills + paddings
    programs += folds1 + folds2
    if not programs:
        return
    nothing = (None,) * 9
    launch(
        _prepare_kernel,
        (programs,),
        *(features, offsets, query, lengths, map_weight, map_bias, query_weight),
        *(projected_query, mapped, sample_of_row, schedule),
        *(rows, frames, samples, depth, k, k * map_weight.shape[1]),
        *((plan.chunk, plan.most) if plan is not None else (0, 0)),
        *((*pack1, *pack1.weight.shape[:2]) if pack1 is not None else (None, None, 0, 0)),
        *((*pack2, *pack2.weight.shape[:2]) if pack2 is not None else (None, None, 0, 0)),
        *((*fold1, fold1.scale.shape[0]) if fold1 is not None else (*nothing, 0)),
        *((*fold2, fold2.scale.shape[0]) if fold2 is not None else (*nothing, 0)),
        *(projections, schedules, packs1, packs2, maps, fills, paddings, folds1, folds2),
        PRECISION=precision(features.dtype),
        BLOCK_B=_BLOCK_B,
        BLOCK_K=_BLOCK_K,
        BLOCK_D=32 if features.dtype == torch.float32 else 256 // query_weight.element_size(),
        BLOCK_OUT=_BLOCK_OUT,
        BLOCK_IN=_BLOCK_IN,
        BLOCK_MAP=_BLOCK_MAP,
        BLOCK_FOLD=_BLOCK_FOLD,
        BLOCK_ROWS=_BLOCK_ROWS,
        BLOCK_SAMPLES=_BLOCK_SAMPLES,
        num_warps=4,
        sanitize_overflow=False,  # debug, which the assertion needs, would turn it on
    )


def _check_lengths(lengths: Tensor, frames: int) -> None:
    given = lengths.tolist()
    if sum(given) != frames or min(given, default=0) < 0:
        raise ValueError(f"lengths must be at least 0 and sum to {frames} frames, got {given}")


@triton.jit(
    debug=True,  # for the assertion
    do_not_specialize=[
        *(
            "rows",
            "frames",
            "samples",
            "chunk",
            "most",
            "projections",
            "schedules",
            "packs1",
            "packs2",
        ),
        *("maps", "fills", "paddings", "folds1", "folds2"),
    ],
)
def _prepare_kernel(
    features,
    offsets,
    query,
    lengths,
    map_weight,
    map_bias,
    query_weight,
    projected_query,
    mapped,
    sample_of_row,
    schedule,
    rows,
    frames,
    samples,
    depth,
    k,
    entries,  # of map_weight
    chunk,
    most,
    weight1,
    packed1,
    out1,
    in1,
    weight2,
    packed2,
    out2,
    in2,
    norm_weight1,
    norm_bias1,
    mean1,
    var1,
    eps1,
    scale1,
    shift1,
    mean_out1,
    var_out1,
    channels1,
    norm_weight2,
    norm_bias2,
    mean2,
    var2,
    eps2,
    scale2,
    shift2,
    mean_out2,
    var_out2,
    channels2,
    projections,  # programs of each part
    schedules,
    packs1,
    packs2,
    maps,
    fills,
    paddings,
    folds1,
    folds2,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_MAP: tl.constexpr,
    BLOCK_FOLD: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
):
    # The parts whose programs take longest come first.
    program = tl.program_id(0)
    if (program >= 0) & (program < projections):
        _project_query(
            features, query, query_weight, map_bias, projected_query, program, samples, depth, k,
            PRECISION, BLOCK_B, BLOCK_K, BLOCK_D,
        )  # fmt: skip
    program -= projections
    if lengths is not None:
        if program == 0:
            _check(lengths, frames, samples, BLOCK_SAMPLES)
        program -= 1
    if schedule is not None:
        if (program >= 0) & (program < schedules):
            _share(
                offsets, lengths, schedule, program, rows, frames, samples, chunk, most,
                BLOCK_SAMPLES,
            )  # fmt: skip
        program -= schedules
    if packed2 is not None:
        if (program >= 0) & (program < packs2):
            _pack(weight2, packed2, program, out2, in2, BLOCK_OUT, BLOCK_IN)
        program -= packs2
    if packed1 is not None:
        if (program >= 0) & (program < packs1):
            _pack(weight1, packed1, program, out1, in1, BLOCK_OUT, BLOCK_IN)
        program -= packs1
    if mapped is not None:
        if (program >= 0) & (program < maps):
            entry = program * BLOCK_MAP + tl.arange(0, BLOCK_MAP)
            value = tl.load(map_weight + entry, entry < entries)
            tl.store(mapped + entry, value.to(mapped.dtype.element_ty), entry < entries)
        program -= maps
    if sample_of_row is not None:
        if (program >= 0) & (program < fills):
            sample = program
            if lengths is not None:
                sample = _sample_of_frame(lengths, program, samples, BLOCK_SAMPLES)
            begin, end = tl.load(offsets + program), tl.load(offsets + program + 1)
            _fill(sample_of_row, sample, begin, tl.minimum(end, rows), BLOCK_ROWS, BLOCK_ROWS)
        program -= fills
        if (program >= 0) & (program < paddings):
            begin = tl.load(offsets + frames) + program * BLOCK_ROWS
            _fill(sample_of_row, -1, begin, rows, paddings * BLOCK_ROWS, BLOCK_ROWS)
        program -= paddings
    if scale1 is not None:
        if (program >= 0) & (program < folds1):
            _fold(
                norm_weight1, norm_bias1, mean1, var1, eps1, scale1, shift1, mean_out1, var_out1,
                program, channels1, BLOCK_FOLD,
            )  # fmt: skip
        program -= folds1
    if scale2 is not None:
        if (program >= 0) & (program < folds2):
            _fold(
                norm_weight2, norm_bias2, mean2, var2, eps2, scale2, shift2, mean_out2, var_out2,
                program, channels2, BLOCK_FOLD,
            )  # fmt: skip
        program -= folds2


@triton.jit
def _project_query(
    features, query, query_weight, map_bias, projected_query, program, samples, depth, k,
    PRECISION: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write a block of the query's projection."""
    dtype = features.dtype.element_ty
    blocks = tl.cdiv(k, BLOCK_K)
    sample = (program // blocks * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    column = program % blocks * BLOCK_K + tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_B, BLOCK_K), tl.float32)
    for start in tl.range(0, depth, BLOCK_D, num_stages=5):
        d = start + tl.arange(0, BLOCK_D)[None, :]
        at = query + sample.to(tl.int64) * depth + d
        q = tl.load(at, (sample < samples) & (d < depth), 0.0).to(dtype)
        at = query_weight + column[:, None] * depth + d
        w = tl.load(at, (column < k)[:, None] & (d < depth), 0.0).to(dtype)
        total = tl.dot(q, tl.trans(w), total, input_precision=PRECISION)
    total += tl.load(map_bias + column, column < k, 0.0).to(dtype).to(tl.float32)[None, :]
    at = projected_query + sample.to(tl.int64) * k + column[None, :]
    tl.store(at, total, (sample < samples) & (column < k)[None, :])


@triton.jit
def _check(lengths, frames, samples, BLOCK: tl.constexpr):
    """Stop the GPU where lengths are negative or do not sum to the frames."""
    total = tl.full((), 0, tl.int64)
    least = tl.full((), 0, tl.int64)
    for start in range(0, samples, BLOCK):
        sample = start + tl.arange(0, BLOCK)
        length = tl.load(lengths + sample, sample < samples, 0).to(tl.int64)
        total += tl.sum(length, 0)
        least = tl.minimum(least, tl.min(length, 0))
    tl.device_assert(
        (total == frames) & (least >= 0),
        "lengths must be at least 0 and sum to the number of frames",
    )


@triton.jit
def _share(
    offsets, lengths, schedule, mine, rows, frames, samples, chunk, most, BLOCK: tl.constexpr
):
    """Write the chunks of a sample, and how many chunks there are before the next sample."""
    frames_before = tl.full((), 0, tl.int64)
    before = 0
    my_begin = 0
    my_end = 0
    for start in range(0, samples, BLOCK):
        sample = start + tl.arange(0, BLOCK)
        there = sample < samples
        if lengths is not None:
            length = tl.load(lengths + sample, there, 0).to(tl.int64)
        else:
            length = there.to(tl.int64)
        frame_end = frames_before + tl.cumsum(length, 0)
        # Whatever lengths and offsets hold, no row number is beyond the last row.
        frame = tl.minimum(tl.maximum(frame_end - length, 0), frames)
        begin = tl.minimum(tl.maximum(tl.load(offsets + frame, there, 0), 0), rows)
        frame = tl.minimum(tl.maximum(frame_end, 0), frames)
        end = tl.minimum(tl.maximum(tl.load(offsets + frame, there, 0), begin), rows)
        before += tl.sum(tl.where(sample < mine, tl.cdiv(end - begin, chunk), 0), 0)
        my_begin += tl.sum(tl.where(sample == mine, begin, 0), 0)
        my_end += tl.sum(tl.where(sample == mine, end, 0), 0)
        frames_before += tl.sum(length, 0)
    own = tl.cdiv(my_end - my_begin, chunk)
    if mine == 0:
        tl.store(schedule + 4 * most, 0)
    if mine < samples:
        tl.store(schedule + 4 * most + 1 + mine, tl.minimum(before + own, most))
    for start in range(0, own, BLOCK):
        part = start + tl.arange(0, BLOCK)
        first = my_begin + part * chunk
        at = schedule + 4 * (before + part)
        there = (part < own) & (before + part < most)
        tl.store(at, first, there)
        tl.store(at + 1, tl.minimum(my_end - first, chunk), there)
        tl.store(at + 2, tl.zeros((BLOCK,), tl.int32) + mine, there)
        tl.store(at + 3, tl.zeros((BLOCK,), tl.int32), there)


@triton.jit
def _pack(
    weight, packed, program, outputs, inputs, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr
):
    """Turn a tile of (Cout, Cin * 9): read along its rows, write along its columns."""
    entries = inputs * 9
    blocks = tl.cdiv(entries, BLOCK_IN)
    row = program // blocks * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    entry = program % blocks * BLOCK_IN + tl.arange(0, BLOCK_IN)
    mask = (row < outputs)[:, None] & (entry < entries)[None, :]
    tile = tl.load(weight + row[:, None] * entries + entry[None, :], mask)
    at = packed + ((entry % 9) * inputs + entry // 9)[:, None] * outputs + row[None, :]
    tl.store(at, tl.trans(tile.to(packed.dtype.element_ty)), tl.trans(mask))


@triton.jit
def _sample_of_frame(lengths, frame, samples, BLOCK: tl.constexpr):
    """Return how many samples end no later than the frame."""
    before = tl.full((), 0, tl.int64)
    ended = 0
    for start in range(0, samples, BLOCK):
        sample = start + tl.arange(0, BLOCK)
        length = tl.load(lengths + sample, sample < samples, 0).to(tl.int64)
        end = before + tl.cumsum(length, 0)
        ended += tl.sum(((end <= frame) & (sample < samples)).to(tl.int32), 0)
        before += tl.sum(length, 0)
    return tl.minimum(ended, samples - 1)  # an existing sample, whatever the lengths are


@triton.jit
def _fill(out, value, begin, end, step, BLOCK: tl.constexpr):
    """Write a value to BLOCK entries from begin on, and so on after every step."""
    for start in range(begin, end, step):
        row = start + tl.arange(0, BLOCK)
        tl.store(out + row, tl.zeros((BLOCK,), tl.int32) + value, row < end)


@triton.jit
def _fold(
    weight, bias, mean, var, eps, scale, shift, mean_out, var_out, program, channels,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write a norm of running statistics as scale and shift, and the statistics in float32."""
    c = program * BLOCK + tl.arange(0, BLOCK)
    there = c < channels
    middle = tl.load(mean + c, there, 0.0).to(tl.float32)
    spread = tl.load(var + c, there, 1.0).to(tl.float32)
    factor = tl.load(weight + c, there, 0.0).to(tl.float32) / tl.sqrt_rn(spread + eps)
    added = tl.load(bias + c, there, 0.0).to(tl.float32)
    tl.store(scale + c, factor, there)
    tl.store(shift + c, added - middle * factor, there)
    tl.store(mean_out + c, middle, there)
    tl.store(var_out + c, spread, there)
