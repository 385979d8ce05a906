# mypy: allow-untyped-defs
"""The score's gradients by way of the gradients inside the tanh, (N, k), in memory.

The first kernel writes these gradients, tile by tile of one sample each. The second multiplies them
with the weight, which gives the gradient of features, and, in other programs of the same launch,
with features, over shares of the rows, which gives parts of the gradient of the weight.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .score_gradients_sums import add_chunks
from .tanh import one_less_tanh

__all__ = ["inside_kernel", "products_kernel"]


@triton.jit(do_not_specialize=["samples", "most", "width"])
def inside_kernel(
    grad_logits,  # (N,) float32
    features,  # (N, C)
    projected_query,  # (B, k) float32
    schedule,  # of chunks of no more than TILE rows
    map_weight,  # (k, C) in features' dtype
    score_weight,  # (k,)
    inside,  # (N, k) in features' dtype
    sums,  # (chunks, width) float32: inside the tanh, of score_weight, of score_bias
    samples,
    most,
    width,
    C: tl.constexpr,
    K: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    STAGES: tl.constexpr,
    RESIDENT: tl.constexpr,  # a tile of all channels stays resident while blocks of k pass by
):
    """Write the gradients inside the tanh, and each chunk's sums."""
    program = tl.program_id(0)
    # All at once: each of these loads takes its time.
    chunks = tl.load(schedule + 4 * most + samples)
    first = tl.load(schedule + 4 * program)
    number = tl.load(schedule + 4 * program + 1)
    sample = tl.load(schedule + 4 * program + 2)
    if program >= chunks:
        return
    dtype = features.dtype.element_ty
    lane = tl.arange(0, TILE)
    real = lane < number
    c = tl.arange(0, BLOCK_C)[None, :]
    x_rows = features + first.to(tl.int64) * C + lane[:, None] * C
    grad = tl.load(grad_logits + first + lane, real, 0.0)
    summed = tl.sum(grad, 0)
    line = sums + program * width
    if RESIDENT:
        x = tl.load(x_rows + c, real[:, None] & (c < C), 0.0)
    for start in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        column = start + tl.arange(0, BLOCK_K)
        there = column < K
        w_rows = map_weight + column[:, None] * C
        # (k, rows): sums over rows then stay within a few threads.
        if RESIDENT:
            w = tl.load(w_rows + c, there[:, None] & (c < C), 0.0)
            inner = tl.dot(w, tl.trans(x), input_precision=PRECISION)
        else:
            inner = tl.zeros((BLOCK_K, TILE), tl.float32)
            for some in range(0, C, BLOCK_C):
                part = tl.load(x_rows + some + c, real[:, None] & (some + c < C), 0.0)
                w = tl.load(w_rows + some + c, there[:, None] & (some + c < C), 0.0)
                inner = tl.dot(w, tl.trans(part), inner, input_precision=PRECISION)
        if K % BLOCK_K != 0:
            # An infinite feature times the zeros of these columns is NaN.
            inner = tl.where(there[:, None], inner, 0.0)
        query = tl.load(projected_query + sample * K + column, there, 0.0)
        score = tl.load(score_weight + column, there, 0.0).to(dtype).to(tl.float32)
        rest = one_less_tanh(inner, query[:, None])
        graded = grad[None, :] * rest
        lost = tl.sum(graded, 1)
        graded *= (2.0 - rest) * score[:, None]
        tl.store(line + column, tl.sum(graded, 1), there)
        tl.store(line + K + column, summed - lost, there)  # tanh is 1 - rest
        at = inside + first.to(tl.int64) * K + lane[:, None] * K + column[None, :]
        tl.store(at, tl.trans(graded.to(dtype)), real[:, None] & there[None, :])
    tl.store(line + 2 * K, summed)


@triton.jit(do_not_specialize=["frames", "rows", "samples", "most", "width", "splits", "tiles"])
def products_kernel(
    inside,
    features,
    offsets,
    map_weight,
    grad_x,  # (T * 128, C), or None: nothing is added to what comes through the scores
    position_of,  # (N,)
    factor,  # (N,) float32, or None: grad_x is added unscaled
    grad_features,  # (N, C)
    parts,  # (splits, k * C) float32, of map_weight
    schedule,
    sums,
    of_sample,  # (B, width) float32
    frames,
    rows,
    samples,
    most,
    width,
    splits,
    tiles,  # of rows
    C: tl.constexpr,
    K: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,  # rows, or columns of k, that are summed over
    BLOCK_LINES: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Write the gradient of features, parts of the weight's, and the sums of each sample."""
    program = tl.program_id(0)
    blocks_c: tl.constexpr = tl.cdiv(C, BLOCK_C)
    blocks: tl.constexpr = tl.cdiv(K, TILE) * blocks_c
    real_rows = tl.load(offsets + frames)
    if program < splits * blocks:
        _multiply_rows(
            inside, features, parts, program // blocks, program % blocks, splits, real_rows,
            C, K, PRECISION, TILE, BLOCK_C, BLOCK_D,
        )  # fmt: skip
    elif program < splits * blocks + tiles * blocks_c:
        program -= splits * blocks
        _multiply_weight(
            inside, map_weight, grad_x, position_of, factor, grad_features,
            program // blocks_c, program % blocks_c, real_rows, rows,
            C, K, PRECISION, TILE, BLOCK_C, BLOCK_D,
        )  # fmt: skip
    else:
        program -= splits * blocks + tiles * blocks_c
        add_chunks(
            sums, schedule, of_sample, program, samples, most, width, 2 * K + 1, 0, 1,
            BLOCK_LINES, BLOCK_WIDTH,
        )  # fmt: skip


@triton.jit
def _multiply_rows(
    inside, features, parts, split, block, splits, real_rows,
    C: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write a share of the rows' part of a block of the gradient of map_weight."""
    blocks_c: tl.constexpr = tl.cdiv(C, BLOCK_C)
    column = block // blocks_c * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
    c = block % blocks_c * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    steps = tl.cdiv(real_rows, BLOCK_D)
    first = steps // splits * split + tl.minimum(split, steps % splits)
    last = first + steps // splits + (split < steps % splits).to(tl.int32)
    total = tl.zeros((BLOCK_K, BLOCK_C), tl.float32)
    for step in range(first, last):
        row = (step * BLOCK_D + tl.arange(0, BLOCK_D))[:, None]
        at = row.to(tl.int64)
        a = tl.load(inside + at * K + column, (row < real_rows) & (column < K), 0.0)
        x = tl.load(features + at * C + c, (row < real_rows) & (c < C), 0.0)
        total = tl.dot(tl.trans(a), x, total, input_precision=PRECISION)
    column = tl.trans(column)
    at = parts + split.to(tl.int64) * (K * C) + column * C + c
    tl.store(at, total, (column < K) & (c < C))


@triton.jit
def _multiply_weight(
    inside, map_weight, grad_x, position_of, factor, grad_features, tile, block, real_rows, rows,
    C: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr,
    TILE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write a tile of the gradient of features, zero in padding."""
    row = tile * TILE + tl.arange(0, TILE)
    real = row < real_rows
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    total = tl.zeros((TILE, BLOCK_C), tl.float32)
    # No product in padding.
    for start in range(0, tl.where(tile * TILE < real_rows, K, 0), BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        at = inside + row.to(tl.int64)[:, None] * K + d[None, :]
        a = tl.load(at, real[:, None] & (d < K)[None, :], 0.0)
        at = map_weight + d[:, None] * C + c
        w = tl.load(at, (d < K)[:, None] & (c < C), 0.0)
        total = tl.dot(a, w, total, input_precision=PRECISION)
    if grad_x is not None:
        position = tl.load(position_of + row, real, -1)
        g_rows = grad_x + position.to(tl.int64)[:, None] * C + c
        g = tl.load(g_rows, (position >= 0)[:, None] & (c < C), 0.0)
        scale = 1.0
        if factor is not None:
            scale = tl.load(factor + row, real, 0.0)[:, None]
        total = tl.fma(g.to(tl.float32), scale, total)
    out = grad_features + row.to(tl.int64)[:, None] * C + c
    tl.store(out, total.to(grad_features.dtype.element_ty), (row < rows)[:, None] & (c < C))
