# mypy: allow-untyped-defs
"""The score's gradients after the passes over the rows: sums and small products.

Sums are made in parts and added in a fixed order: two runs agree bit for bit.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["add_chunks", "finish_scores", "sums_kernel"]


@triton.jit
def add_chunks(
    sums, schedule, of_sample, sample, samples, most, width, used, share, shares,
    BLOCK_LINES: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """Add the lines of a sample's chunks: the columns of one of several shares of the work."""
    first = tl.load(schedule + 4 * most + sample)
    last = tl.load(schedule + 4 * most + sample + 1)
    for begin in range(share * BLOCK_WIDTH, used, shares * BLOCK_WIDTH):
        column = begin + tl.arange(0, BLOCK_WIDTH)
        total = tl.zeros((BLOCK_LINES, BLOCK_WIDTH), tl.float32)
        for start in range(first, last, BLOCK_LINES):
            line = (start + tl.arange(0, BLOCK_LINES))[:, None]
            at = sums + line.to(tl.int64) * width + column[None, :]
            total += tl.load(at, (line < last) & (column < used)[None, :], 0.0)
        at = of_sample + sample.to(tl.int64) * width + column
        tl.store(at, tl.sum(total, 0), column < used)


@triton.jit
def _add_parts(
    features, parts, of_weight, program, number, length,
    BLOCK_LINES: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """Add the parts of the gradient of map_weight, BLOCK_WIDTH entries of it."""
    place = program * BLOCK_WIDTH + tl.arange(0, BLOCK_WIDTH)
    total = tl.zeros((BLOCK_LINES, BLOCK_WIDTH), tl.float32)
    for start in range(0, number, BLOCK_LINES):
        line = (start + tl.arange(0, BLOCK_LINES))[:, None]
        at = parts + line.to(tl.int64) * length + place[None, :]
        total += tl.load(at, (line < number) & (place < length)[None, :], 0.0)
    _store(features, of_weight + place, tl.sum(total, 0), place < length)


@triton.jit
def _store(features, at, value, mask):
    """Store a parameter's gradient, rounded to features' dtype and then to the parameter's."""
    tl.store(at, value.to(features.dtype.element_ty).to(at.dtype.element_ty), mask)


@triton.jit(do_not_specialize=["samples", "most", "width", "used", "adds"])
def sums_kernel(
    features,  # not read, as in finish_scores: parameters were rounded to its dtype
    parts,  # (chunks, length) float32
    schedule,
    sums,
    of_sample,
    of_map_weight,
    samples,
    most,
    width,
    used,
    adds,
    length,
    BLOCK_LINES: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Write the gradient of map_weight from its parts, and the sums of each sample."""
    program = tl.program_id(0)
    if program < adds:
        number = tl.load(schedule + 4 * most + samples)
        _add_parts(
            features, parts, of_map_weight, program, number, length, BLOCK_LINES, BLOCK_WIDTH
        )
    else:
        program -= adds
        shares = tl.cdiv(used, BLOCK_WIDTH)
        add_chunks(
            sums, schedule, of_sample, program // shares, samples, most, width, used,
            program % shares, shares, BLOCK_LINES, BLOCK_WIDTH,
        )  # fmt: skip


@triton.jit
def finish_scores(
    features, parts, of_sample, query, query_weight, of_map_weight, of_query, of_map_bias,
    of_query_weight, of_score_weight, of_score_bias, program, number, length, samples, width, k,
    depth, adds, queries, weights,
    BLOCK_LINES: tl.constexpr, BLOCK_WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write the other gradients of parameters, and that of map_weight if its parts are given."""
    if parts is not None:
        if program < adds:
            _add_parts(
                features, parts, of_map_weight, program, number, length, BLOCK_LINES, BLOCK_WIDTH
            )
        program -= adds
    blocks = tl.cdiv(depth, BLOCK_D)
    d = tl.arange(0, BLOCK_D)
    dtype = features.dtype.element_ty
    total = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    if (program >= 0) & (program < queries):
        d += program % blocks * BLOCK_D
        sample = program // blocks * BLOCK + tl.arange(0, BLOCK)
        at = of_sample + sample.to(tl.int64)[:, None] * width
        for start in range(0, k, BLOCK):
            column = start + tl.arange(0, BLOCK)
            mask = (sample < samples)[:, None] & (column < k)[None, :]
            a = tl.load(at + column[None, :], mask, 0.0)
            b_at = query_weight + column[:, None] * depth + d[None, :]
            b = tl.load(b_at, (column < k)[:, None] & (d < depth)[None, :], 0.0)
            total = tl.dot(a, b.to(dtype).to(tl.float32), total, input_precision="ieee")
        at = of_query + sample.to(tl.int64)[:, None] * depth + d[None, :]
        _store(features, at, total, (sample < samples)[:, None] & (d < depth)[None, :])
    program -= queries
    if (program >= 0) & (program < weights):
        d += program % blocks * BLOCK_D
        column = program // blocks * BLOCK + tl.arange(0, BLOCK)
        for start in range(0, samples, BLOCK):
            sample = start + tl.arange(0, BLOCK)
            at = of_sample + sample.to(tl.int64)[None, :] * width + column[:, None]
            a = tl.load(at, (sample < samples)[None, :] & (column < k)[:, None], 0.0)
            b_at = query + sample.to(tl.int64)[:, None] * depth + d[None, :]
            b = tl.load(b_at, (sample < samples)[:, None] & (d < depth)[None, :], 0.0)
            total = tl.dot(a, b.to(dtype).to(tl.float32), total, input_precision="ieee")
        at = of_query_weight + column[:, None] * depth + d[None, :]
        _store(features, at, total, (column < k)[:, None] & (d < depth)[None, :])
    program -= weights
    if program >= 0:
        column = program * BLOCK_WIDTH + tl.arange(0, BLOCK_WIDTH)
        lines = tl.zeros((BLOCK_LINES, BLOCK_WIDTH), tl.float32)
        for start in range(0, samples, BLOCK_LINES):
            sample = (start + tl.arange(0, BLOCK_LINES))[:, None]
            at = of_sample + sample.to(tl.int64) * width + column[None, :]
            lines += tl.load(at, (sample < samples) & (column < 2 * k + 1)[None, :], 0.0)
        summed = tl.sum(lines, 0)
        _store(features, of_map_bias + column, summed, column < k)
        _store(features, of_score_weight + column - k, summed, (column >= k) & (column < 2 * k))
        _store(features, of_score_bias + column - 2 * k, summed, column == 2 * k)
