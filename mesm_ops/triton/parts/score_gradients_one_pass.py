# mypy: allow-untyped-defs
"""The score's gradients where a program holds the weight and the sum of the weight's gradient.

A program takes a chunk of rows of one sample, tile by tile: projection, tanh, the gradients inside
the tanh, and from these the gradients of features and weight.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .tanh import one_less_tanh

__all__ = ["one_pass_kernel", "zero_padding"]


@triton.jit(do_not_specialize=["frames", "rows", "samples", "most", "width"])
def one_pass_kernel(
    grad_logits,  # (N,) float32
    features,  # (N, C)
    offsets,
    projected_query,  # (B, k) float32
    schedule,
    map_weight,  # (k, C) in features' dtype
    score_weight,  # (k,)
    grad_x,  # (T * 128, C), or None: nothing is added to what comes through the scores
    position_of,  # (N,)
    factor,  # (N,) float32, or None: grad_x is added unscaled
    grad_features,  # (N, C)
    sums,  # (chunks, width) float32: inside the tanh, of score_weight, of score_bias
    parts,  # (chunks, k * C) float32, of map_weight
    frames,
    rows,
    samples,
    most,
    width,
    C: tl.constexpr,
    K: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient of features, and each chunk's sums and part of the weight's gradient."""
    program = tl.program_id(0)
    # All at once: each of these loads takes its time.
    chunks, real_rows = tl.load(schedule + 4 * most + samples), tl.load(offsets + frames)
    first = tl.load(schedule + 4 * program)
    number = tl.load(schedule + 4 * program + 1)
    sample = tl.load(schedule + 4 * program + 2)
    step = tl.num_programs(0) * TILE
    zero_padding(grad_features, real_rows + program * TILE, rows, step, C, TILE, BLOCK_C)
    if program >= chunks:
        return
    dtype = features.dtype.element_ty
    lane, c, column = tl.arange(0, TILE), tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_K)
    there, some = column < K, (c < C)[None, :]
    at = column[:, None] * C + c[None, :]
    weight = tl.load(map_weight + at, there[:, None] & some, 0.0)
    score = tl.load(score_weight + column, there, 0.0).to(dtype).to(tl.float32)
    query = tl.load(projected_query + sample * K + column, there, 0.0)[:, None]
    grad_logits += first
    of_weight = tl.zeros((BLOCK_K, BLOCK_C), tl.float32)
    of_inner = tl.zeros((BLOCK_K,), tl.float32)
    lost = tl.zeros((BLOCK_K,), tl.float32)
    for start in range(0, number, TILE):
        real = start + lane < number
        row = first + start
        place = row.to(tl.int64) * C + lane[:, None] * C + c[None, :]
        x = tl.load(features + place, real[:, None] & some, 0.0)
        grad = tl.load(grad_logits + start + lane, real, 0.0)
        if grad_x is not None:
            position = tl.load(position_of + row + lane, real, -1)
            g_rows = grad_x + position.to(tl.int64)[:, None] * C + c[None, :]
            g = tl.load(g_rows, (position >= 0)[:, None] & some, 0.0)
        # (k, rows): sums over rows then stay within a few threads.
        inner = tl.dot(weight, tl.trans(x))
        if K % BLOCK_K != 0:
            # An infinite feature times the zeros of these columns is NaN.
            inner = tl.where(there[:, None], inner, 0.0)
        rest = one_less_tanh(inner, query)
        graded = grad[None, :] * rest
        inside = graded * (2.0 - rest)
        lost += tl.sum(graded, 1)
        of_inner += tl.sum(inside, 1)
        inside = (inside * score[:, None]).to(dtype)
        of_weight = tl.dot(inside, x, of_weight)
        of_x = tl.dot(tl.trans(inside), weight)
        if grad_x is not None:
            scale = 1.0
            if factor is not None:
                scale = tl.load(factor + row + lane, real, 0.0)[:, None]
            # A sum would begin the product above with g, which then takes registers for long.
            of_x = tl.fma(g.to(tl.float32), scale, of_x)
        tl.store(grad_features + place, of_x.to(dtype), real[:, None] & some)
    tl.store(parts + program.to(tl.int64) * (K * C) + at, of_weight, there[:, None] & some)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, number, BLOCK):
        each = start + tl.arange(0, BLOCK)
        total += tl.load(grad_logits + each, each < number, 0.0)
    summed = tl.sum(total, 0)
    line = sums + program * width
    tl.store(line + column, of_inner * score, there)
    tl.store(line + K + column, summed - lost, there)  # tanh is 1 - rest
    tl.store(line + 2 * K, summed)


@triton.jit
def zero_padding(
    grad_features, begin, rows, step, C: tl.constexpr, TILE: tl.constexpr, BLOCK_C: tl.constexpr
):
    """Write zeros to TILE rows from begin on, and so on after every step."""
    lane, c = tl.arange(0, TILE), tl.arange(0, BLOCK_C)
    zeros = tl.zeros((TILE, BLOCK_C), grad_features.dtype.element_ty)
    for start in range(begin, rows, step):
        out = grad_features + tl.cast(start, tl.int64) * C + lane[:, None] * C + c[None, :]
        tl.store(out, zeros, (start + lane < rows)[:, None] & (c < C)[None, :])
