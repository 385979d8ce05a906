# mypy: allow-untyped-defs
"""The logits of candidate rows: projection, tanh and score of a tile of rows in one pass.

A tile is of consecutive rows, whatever samples these rows belong to. The hidden values (N, k) never
reach memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch
from .products import precision
from .sizes import block_of, capability_of, cdiv
from .tanh import one_less_tanh

__all__ = ["score", "score_blocks"]


def score(
    features: Tensor,
    offsets: Tensor,
    projected_query: Tensor,
    sample_of_row: Tensor,
    map_weight: Tensor,
    score_weight: Tensor,
    score_bias: Tensor,
    logits: Tensor,
) -> None:
    """Write the logits.

    Args:
        features: (N, C) float32, bfloat16 or float16.
        offsets: (F + 1,) int32.
        projected_query: (B, k) float32, as `prepare` writes it.
        sample_of_row: (N,) int32, as `prepare` writes it.
        map_weight: (k, C) in features' dtype.
        score_weight: (1, k) of any dtype, rounded to features'.
        score_bias: (1,), likewise.
        logits: (N,) float32, written: zero in padding.
    """
    rows, channels = features.shape
    if rows:
        k = map_weight.shape[0]
        tile, block_k, block_c, warps, stages = score_blocks(
            features.dtype, channels, k, capability_of(features.device)
        )
        launch(
            _score_kernel,
            (cdiv(rows, tile),),
            *(
                features,
                offsets,
                projected_query,
                sample_of_row,
                map_weight,
                score_weight,
                score_bias,
            ),
            *(logits, offsets.shape[0] - 1, rows),
            C=channels,
            K=k,
            PRECISION=precision(features.dtype),
            TILE=tile,
            BLOCK_K=block_k,
            BLOCK_C=block_c,
            STAGES=stages,
            RESIDENT=features.dtype != torch.float32 and block_c >= channels,
            num_warps=warps,
        )


def score_blocks(
    dtype: torch.dtype, channels: int, k: int, capability: int
) -> tuple[int, int, int, int, int]:
    """Return the rows of a tile, blocks of k and of channels, the number of warps and of stages.

    Several programs fit on a multiprocessor, so that one loads while another computes. Up to 256
    channels a tile of rows stays resident while blocks of k pass by; exact products of
    float32 take their operands from registers, which have no room for a whole tile.
    """
    block_k, block_c = block_of(k), block_of(channels)
    if dtype == torch.float32:
        return 64, min(block_k, 64), 32 if channels > 32 else 16, 8, 1
    if block_c <= 64:
        return 128, min(block_k, 64), block_c, 8, 2
    if block_c == 128:  # before capability 9 operands are in registers
        return 64, min(block_k, 128 if capability >= 9 else 64), block_c, 4, 2
    if block_c == 256:
        return 64, min(block_k, 32), block_c, 4, 2
    return 64, min(block_k, 64), 64, 4 if capability >= 9 else 8, 2


@triton.jit(do_not_specialize=["frames", "rows"])
def _score_kernel(
    features,
    offsets,
    projected_query,
    sample_of_row,
    map_weight,
    score_weight,
    score_bias,
    logits,
    frames,
    rows,
    C: tl.constexpr,
    K: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    STAGES: tl.constexpr,
    RESIDENT: tl.constexpr,  # a tile of all channels stays resident while blocks of k pass by
):
    first = tl.program_id(0) * TILE
    row = first + tl.arange(0, TILE)
    real_rows = tl.load(offsets + frames)
    logit = tl.zeros((TILE,), tl.float32)
    if first < real_rows:
        sample = tl.load(sample_of_row + first)
        last_sample = tl.load(sample_of_row + tl.minimum(first + TILE, real_rows) - 1)
        # Two loops: a branch within one could not be pipelined.
        if sample == last_sample:
            logit = _logits(
                features, projected_query, sample_of_row, map_weight, score_weight, first,
                real_rows, True,
                C, K, PRECISION, TILE, BLOCK_K, BLOCK_C, STAGES, RESIDENT,
            )  # fmt: skip
        else:
            logit = _logits(
                features, projected_query, sample_of_row, map_weight, score_weight, first,
                real_rows, False,
                C, K, PRECISION, TILE, BLOCK_K, BLOCK_C, STAGES, RESIDENT,
            )  # fmt: skip
        logit += tl.load(score_bias).to(features.dtype.element_ty).to(tl.float32)
    tl.store(logits + row, tl.where(row < real_rows, logit, 0.0), row < rows)


@triton.jit
def _logits(
    features, projected_query, sample_of_row, map_weight, score_weight, first, real_rows,
    ONE_SAMPLE: tl.constexpr, C: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr,
    TILE: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr, STAGES: tl.constexpr,
    RESIDENT: tl.constexpr,
):  # fmt: skip
    """Return the logits of a tile, less the bias."""
    lane = tl.arange(0, TILE)
    real = (first + lane < real_rows)[:, None]
    x_rows = features + first.to(tl.int64) * C + lane[:, None] * C
    c = tl.arange(0, BLOCK_C)[None, :]
    if RESIDENT:
        x = tl.load(x_rows + c, real & (c < C), 0.0)
    if not ONE_SAMPLE:
        sample = tl.load(sample_of_row + first + lane, first + lane < real_rows, 0)
    else:
        sample = tl.load(sample_of_row + first)
    logit = tl.zeros((TILE,), tl.float32)
    for start in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        column = start + tl.arange(0, BLOCK_K)
        there = column < K
        w_rows = map_weight + column[:, None] * C
        if RESIDENT:
            w = tl.load(w_rows + c, there[:, None] & (c < C), 0.0)
            inner = tl.dot(x, tl.trans(w), input_precision=PRECISION)
        else:
            inner = tl.zeros((TILE, BLOCK_K), tl.float32)
            for some in range(0, C, BLOCK_C):
                part = tl.load(x_rows + some + c, real & (some + c < C), 0.0)
                w = tl.load(w_rows + some + c, there[:, None] & (some + c < C), 0.0)
                inner = tl.dot(part, tl.trans(w), inner, input_precision=PRECISION)
        if K % BLOCK_K != 0:
            # An infinite feature times the zeros of these columns is NaN.
            inner = tl.where(there[None, :], inner, 0.0)
        if ONE_SAMPLE:
            inner += tl.load(projected_query + sample * K + column, there, 0.0)[None, :]
        else:
            inner += tl.load(
                projected_query + sample[:, None] * K + column[None, :], there[None, :], 0.0
            )
        hidden = 1.0 - one_less_tanh(inner, 0.0)
        weight = tl.load(score_weight + column, there, 0.0).to(features.dtype.element_ty)
        logit += tl.sum(hidden * weight.to(tl.float32)[None, :], 1)
    return logit
