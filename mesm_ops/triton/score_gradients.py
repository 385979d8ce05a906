# mypy: allow-untyped-defs
"""The gradients of cross_modal_score, from hidden values that are computed again.

Sums over rows are made in parts and added in a fixed order: two runs agree bit for bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._tuning import capability_of, precision
from .product import product
from .sample_tiles import most_tiles, rows_of_tile, sample_of_tile, sample_tiles
from .score_tile import block_of, project, tanh_and_slope, tile_of

__all__ = ["gradient_blocks", "score_gradients"]

_INTERPRETED_PROGRAMS = 3  # few, so that one takes several tiles in the tests too


def score_gradients(
    grad_logits: Tensor,
    features: Tensor,
    offsets: Tensor,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    score_weight: Tensor,
    onto: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return what `cross_modal_score_backward` does.

    Args:
        grad_logits: (N,) float32; from here on as the op takes them.
        features: (N, C).
        offsets: (F + 1,).
        query: (B, D).
        lengths: (B,) or None.
        map_weight: (k, C).
        map_bias: (k,).
        query_weight: (k, D).
        score_weight: (1, k).
        onto: (N, C) in features' dtype, zero in padding: a gradient of features that this one is
            added to, in place, and returned.
    """
    rows, channels = features.shape
    k, samples = map_weight.shape[0], query.shape[0]
    most, block_k, block_c, warps = gradient_blocks(
        features.dtype, channels, k, capability_of(features.device)
    )
    tile = tile_of(rows, samples, most)
    steps = range(0, k, block_k)
    # Between steps over k the sum stays in float32.
    dtype = torch.float32 if len(steps) > 1 else features.dtype
    if onto is None:
        of_features = features.new_empty(rows, channels, dtype=dtype)
    else:
        of_features = onto.to(dtype)

    tiles = most_tiles(rows, samples, tile)
    programs = min(_programs(features.device), tiles)
    columns = triton.cdiv(channels, block_c)
    length = triton.cdiv(k * channels + 2 * k + 1, 4) * 4  # the rows of parts begin aligned
    parts = features.new_empty(programs, length, dtype=torch.float32)
    sums = features.new_empty(tiles, k, dtype=torch.float32)
    schedule = sample_tiles(rows, offsets, lengths, samples, tile)
    asked = product(query, query_weight.t(), map_bias, torch.float32)
    for first in steps if rows else ():
        _gradients_kernel[(programs, columns)](
            *(
                grad_logits,
                features,
                asked,
                map_weight,
                score_weight,
                schedule,
                offsets,
                offsets.shape[0] - 1,
            ),
            *(of_features, sums, parts, length),
            *(rows, samples, samples.bit_length(), channels, k, first),
            *(first > 0 or onto is not None, columns == 1, precision(features.dtype)),
            *(tile, block_k, block_c),
            num_warps=warps,
        )

    of_parameters = [torch.empty_like(t) for t in (map_weight, map_bias, score_weight)]
    of_score_bias = score_weight.new_empty(1)
    _add_parts_kernel[(triton.cdiv(length, 64),)](
        parts, *of_parameters, of_score_bias, programs, length, k, k * channels, 32, 64
    )
    of_sample = features.new_empty(samples, k, dtype=torch.float32)
    if samples:
        block = block_of(k)
        _add_tiles_kernel[(samples,)](sums, schedule, of_sample, samples, k, 32, block)
    return (
        of_features.to(features.dtype),
        product(of_sample, query_weight, None, query.dtype),
        of_parameters[0],
        of_parameters[1],
        product(of_sample.t(), query, None, query_weight.dtype),
        of_parameters[2],
        of_score_bias,
    )


def gradient_blocks(
    dtype: torch.dtype, channels: int, k: int, capability: int
) -> tuple[int, int, int, int]:
    """Return the rows of a tile, at most, blocks of k and of channels, and the number of warps.

    The largest for which no register spills on a GPU of that (major) compute capability: from 9 on
    a product takes its operands from shared memory, before from registers, and an exact one of
    float32 from more of them. Many channels are blocks that share registers with the rows.
    """
    block_k, block_c = min(block_of(k), 64), min(block_of(channels), 64)
    if dtype != torch.float32:
        if capability < 9:
            return 32, block_k, block_c, 8
        return (64, block_k, block_c, 4) if channels <= 128 else (32, block_k, block_c, 4)
    if precision(dtype) == "tf32":
        return 32, block_k, block_c if capability >= 9 else min(block_c, 32), 8
    return 32, min(block_k, 32), block_c if channels <= 64 else 32, 8


def _programs(device: torch.device) -> int:
    if device.type != "cuda":
        return _INTERPRETED_PROGRAMS
    return 3 * torch.cuda.get_device_properties(device).multi_processor_count


@triton.jit(do_not_specialize=["frames", "rows", "samples", "steps", "first"])
def _gradients_kernel(
    grad_logits,
    features,
    asked,
    map_weight,
    score_weight,
    schedule,
    offsets,
    frames,
    of_features,
    sums,  # (tiles, k) gradients inside the tanh, summed over each tile
    parts,  # (programs, length): of map_weight, map_bias, score_weight and score_bias
    length,
    rows,
    samples,
    steps,
    channels,
    k,
    first,  # of the columns of k in this launch
    ADD: tl.constexpr,  # to what of_features holds
    WHOLE: tl.constexpr,  # BLOCK_C takes all channels
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    program, programs = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    some = c < channels
    row = tl.arange(0, TILE)
    column = first + tl.arange(0, BLOCK_K)
    there = column < k
    score = tl.load(score_weight + column, there, 0.0).to(tl.float32)

    if not ADD:
        real_rows = tl.load(offsets + frames)
        for block in range(real_rows // TILE + program, tl.cdiv(rows, TILE), programs):
            first_row = block * tl.full((), TILE, tl.int64)
            padding = (first_row + row >= real_rows) & (first_row + row < rows)
            tl.store(
                of_features + first_row * channels + row[:, None] * channels + c[None, :],
                tl.zeros((TILE, BLOCK_C), of_features.dtype.element_ty),
                mask=padding[:, None] & some[None, :],
            )

    of_weight = tl.zeros((BLOCK_K, BLOCK_C), tl.float32)
    of_bias = tl.zeros((BLOCK_K,), tl.float32)
    of_score = tl.zeros((BLOCK_K,), tl.float32)
    of_score_bias = 0.0
    tiles = tl.load(schedule + 3 * samples - 1, mask=samples > 0, other=0)
    for tile in range(program, tiles, programs):
        sample = sample_of_tile(tile, schedule, samples, steps)
        begin, real = rows_of_tile(tile, sample, schedule, samples, TILE)
        x_rows = features + begin * channels
        place = row[:, None] * channels + c[None, :]
        mask = real[:, None] & some[None, :]
        x = tl.load(x_rows + place, mask=mask, other=0.0)
        # Loaded for every tile: kept over the loop it would take too many registers.
        weight = tl.load(
            map_weight + column[:, None] * channels + c[None, :],
            mask=there[:, None] & some[None, :],
            other=0.0,
        ).to(x.dtype)
        # (BLOCK_K, TILE): sums over rows then stay within a few threads.
        if WHOLE:
            inner = tl.dot(weight, tl.trans(x), input_precision=PRECISION)
        else:
            inner = project(
                x_rows, map_weight, real, column, channels, k, True, PRECISION, TILE, BLOCK_K,
                BLOCK_C,
            )  # fmt: skip
        inner += tl.load(asked + sample.to(tl.int64) * k + column, there, 0.0)[:, None]
        hidden, slope = tanh_and_slope(inner)
        grad = tl.load(grad_logits + begin + row, mask=real, other=0.0)
        inside = tl.where(real[None, :], grad[None, :] * score[:, None] * slope, 0.0)
        over_tile = tl.sum(inside, 1)
        of_bias += over_tile
        of_score += tl.sum(tl.where(real[None, :], grad[None, :] * hidden, 0.0), 1)
        of_score_bias += tl.sum(grad, 0)
        if tl.program_id(1) == 0:
            tl.store(sums + tl.cast(tile, tl.int64) * k + column, over_tile, mask=there)

        inside = inside.to(x.dtype)
        of_weight = tl.dot(inside, x, of_weight, input_precision=PRECISION)
        of_x = tl.dot(tl.trans(inside), weight, input_precision=PRECISION)
        of_x_rows = of_features + begin * channels
        if ADD:
            of_x += tl.load(of_x_rows + place, mask=mask, other=0.0).to(tl.float32)
        tl.store(of_x_rows + place, of_x.to(of_features.dtype.element_ty), mask=mask)

    part = parts + program.to(tl.int64) * length
    tl.store(
        part + column[:, None] * channels + c[None, :],
        of_weight,
        mask=there[:, None] & some[None, :],
    )
    if tl.program_id(1) == 0:
        part += k * channels
        tl.store(part + column, of_bias, mask=there)
        tl.store(part + k + column, of_score, mask=there)
        if first == 0:
            tl.store(part + 2 * k, of_score_bias)


@triton.jit
def _add_parts_kernel(
    parts,
    of_map_weight,
    of_map_bias,
    of_score_weight,
    of_score_bias,
    programs,
    length,
    k,
    product,  # k * channels
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = place < product + 2 * k + 1
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, programs, ROWS):
        program = first + tl.arange(0, ROWS)
        part = tl.load(
            parts + program[:, None].to(tl.int64) * length + place[None, :],
            mask=(program < programs)[:, None] & there[None, :],
            other=0.0,
        )
        total += tl.sum(part, 0)
    dtype = of_map_weight.dtype.element_ty
    tl.store(of_map_weight + place, total.to(dtype), mask=place < product)
    place -= product
    dtype = of_map_bias.dtype.element_ty
    tl.store(of_map_bias + place, total.to(dtype), mask=(place >= 0) & (place < k))
    place -= k
    dtype = of_score_weight.dtype.element_ty
    tl.store(of_score_weight + place, total.to(dtype), mask=(place >= 0) & (place < k))
    tl.store(of_score_bias + place - k, total.to(dtype), mask=place == k)


@triton.jit(do_not_specialize=["samples"])
def _add_tiles_kernel(
    sums, schedule, of_sample, samples, k, ROWS: tl.constexpr, BLOCK_K: tl.constexpr
):
    sample = tl.program_id(0)
    column = tl.arange(0, BLOCK_K)
    begin = tl.load(schedule + 2 * samples + sample - 1, mask=sample > 0, other=0)
    end = tl.load(schedule + 2 * samples + sample)
    total = tl.zeros((BLOCK_K,), tl.float32)
    for first in range(begin, end, ROWS):
        tile = first + tl.arange(0, ROWS)
        part = tl.load(
            sums + tile[:, None].to(tl.int64) * k + column[None, :],
            mask=(tile < end)[:, None] & (column < k)[None, :],
            other=0.0,
        )
        total += tl.sum(part, 0)
    tl.store(of_sample + sample.to(tl.int64) * k + column, total, mask=column < k)
