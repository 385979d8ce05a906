# mypy: allow-untyped-defs
"""cross_modal_score: projection, tanh and score of a tile of rows in one pass.

A tile lies in one sample, so it has one query. The hidden values (N, k) never reach memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..reference import CrossModalScore, CrossModalScoreBackward, CrossModalScoreGradients
from ._tuning import capability_of, precision
from .product import product
from .sample_tiles import most_tiles, rows_of_tile, sample_of_tile, sample_tiles
from .score_gradients import score_gradients
from .score_tile import block_of, project, tanh_and_slope, tile_of

__all__ = ["cross_modal_score", "cross_modal_score_backward"]


def cross_modal_score(a: CrossModalScore) -> Tensor:
    """Return the logits (N,) float32, zero in padding."""
    features, offsets = a.features, a.offsets
    rows, channels = features.shape
    k, samples = a.map_weight.shape[0], a.query.shape[0]
    logits = features.new_empty(rows, dtype=torch.float32)
    if not rows:
        return logits
    # Twice as many rows of float32 would spill registers; before capability 9, of any dtype.
    small = features.dtype is torch.float32 or capability_of(features.device) < 9
    tile = tile_of(rows, samples, 64 if small else 128)
    schedule = sample_tiles(rows, offsets, a.lengths, samples, tile)
    asked = product(a.query, a.query_weight.t(), a.map_bias, torch.float32)
    block_k = min(block_of(k), 64)
    block_c = min(block_of(channels), 32 if features.dtype is torch.float32 else 64)
    _score_kernel[(most_tiles(rows, samples, tile),)](
        *(features, asked, a.map_weight, a.score_weight, a.score_bias, schedule, logits, offsets),
        *(offsets.shape[0] - 1, rows, samples, samples.bit_length(), channels, k),
        *(precision(features.dtype), tile, block_k, block_c),
        num_warps=8,
    )
    return logits


def cross_modal_score_backward(a: CrossModalScoreBackward) -> CrossModalScoreGradients:
    """Run the op of that name."""
    parameters = (a.map_weight, a.map_bias, a.query_weight, a.score_weight)
    return CrossModalScoreGradients(
        *score_gradients(a.grad_logits, a.features, a.offsets, a.query, a.lengths, *parameters)
    )


@triton.jit(do_not_specialize=["frames", "rows", "samples", "steps"])
def _score_kernel(
    features,
    asked,  # (B, k) float32, map_bias in it
    map_weight,
    score_weight,
    score_bias,
    schedule,
    logits,
    offsets,
    frames,
    rows,
    samples,
    steps,
    channels,
    k,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    tile = tl.program_id(0)
    padding = tile.to(tl.int64) * TILE + tl.arange(0, TILE)
    unused = (padding >= tl.load(offsets + frames)) & (padding < rows)
    tl.store(logits + padding, tl.zeros((TILE,), tl.float32), mask=unused)

    sample = sample_of_tile(tile, schedule, samples, steps)
    if sample < samples:
        begin, real = rows_of_tile(tile, sample, schedule, samples, TILE)
        x_rows = features + begin * channels
        logit = tl.zeros((TILE,), tl.float32)
        for first in range(0, k, BLOCK_K):
            column = first + tl.arange(0, BLOCK_K)
            there = column < k
            inner = project(
                x_rows, map_weight, real, column, channels, k, False, PRECISION, TILE, BLOCK_K,
                BLOCK_C,
            )  # fmt: skip
            inner += tl.load(asked + sample.to(tl.int64) * k + column, there, 0.0)[None, :]
            hidden, _ = tanh_and_slope(inner)
            weight = tl.load(score_weight + column, there, 0.0).to(tl.float32)
            logit += tl.sum(hidden * weight[None, :], 1)
        tl.store(
            logits + begin + tl.arange(0, TILE),
            logit + tl.load(score_bias).to(tl.float32),
            mask=real,
        )
