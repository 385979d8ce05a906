"""The gradients of the score; features also get the gradient that comes from the selection.

Hidden values are computed again. No launch depends on what only the device knows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .launch import launch
from .products import precision
from .schedule import SMALL, TILE, Schedule
from .score_gradients_one_pass import one_pass_kernel
from .score_gradients_sums import sums_kernel
from .score_gradients_two_pass import inside_kernel, products_kernel
from .sizes import block_of, capability_of, cdiv, programs_of

__all__ = [
    *("BLOCK", "BLOCK_D", "FINISH_LINES", "FINISH_WIDTH"),
    *("ScoreParts", "inside_blocks", "product_blocks", "score_gradients"),
]

_LINES, _WIDTH = 128, 32  # chunks and columns whose sums are added at a time, one pass
_FEW_LINES, _WIDE = 8, 256  # the same in two passes, where a sample's chunks are short
FINISH_LINES, FINISH_WIDTH = 64, 64
BLOCK, BLOCK_D = 16, 64  # blocks of the products with queries


class ScoreParts(NamedTuple):
    """The work on the gradients of the score that is left for `finish`."""

    features: Tensor  # whose dtype parameters are rounded to; not read
    parts: Tensor | None  # (number, length) float32, of map_weight; None: added already
    of_sample: Tensor  # (B, width) float32: inside the tanh, of score_weight, of score_bias
    query: Tensor  # (B, D)
    query_weight: Tensor  # (k, D)
    of_map_weight: Tensor  # (k, C), written, as all that follow
    of_query: Tensor  # (B, D)
    of_map_bias: Tensor  # (k,)
    of_query_weight: Tensor  # (k, D)
    of_score_weight: Tensor  # (1, k)
    of_score_bias: Tensor  # (1,)
    number: int
    length: int
    samples: int
    width: int
    k: int
    depth: int
    adds: int  # programs of each kind of work, as the three that follow
    queries: int
    weights: int
    columns: int


def score_gradients(
    plan: Schedule,
    grad_logits: Tensor,
    features: Tensor,
    offsets: Tensor,
    query: Tensor,
    projected_query: Tensor,
    schedule: Tensor,
    map_weight: Tensor,
    query_weight: Tensor,
    score_weight: Tensor,
    grad_features: Tensor,
    of_query: Tensor,
    of_map_weight: Tensor,
    of_map_bias: Tensor,
    of_query_weight: Tensor,
    of_score_weight: Tensor,
    of_score_bias: Tensor,
    grad_x: Tensor | None = None,
    position_of: Tensor | None = None,
    factor: Tensor | None = None,
) -> ScoreParts:
    """Write the gradients in two launches, and leave the rest to `finish`.

    Query and parameters, of any dtype, are rounded to features', and so are their gradients.

    Args:
        plan: The schedule from `schedule_of`.
        grad_logits: (N,) float32, not read in padding.
        features: (N, C).
        offsets: (F + 1,) int32.
        query: (B, D).
        projected_query: (B, k) float32, as `prepare` wrote it.
        schedule: (plan.size,) int32, as `prepare` wrote it.
        map_weight: (k, C) in features' dtype.
        query_weight: (k, D).
        score_weight: (1, k).
        grad_features: (N, C) in features' dtype, written: zero in padding.
        of_query: (B, D), written, as the five that follow, each in its parameter's dtype.
        of_map_weight: (k, C).
        of_map_bias: (k,).
        of_query_weight: (k, D).
        of_score_weight: (1, k).
        of_score_bias: (1,).
        grad_x: (T * 128, C) in features' dtype, in the order of positions: the gradient of the kept
            rows, which is added; None: there is none.
        position_of: (N,) int32, as `grad_attention` wrote it.
        factor: (N,) float32, likewise; None: what is added is not scaled.

    Returns:
        The arguments of `finish`, which writes the gradients of query and parameters.
    """
    (rows, channels), (k, depth), samples = features.shape, query_weight.shape, query.shape[0]
    width = cdiv(2 * k + 1, 4) * 4  # so that lines of sums begin aligned
    length = k * channels
    frames = offsets.shape[0] - 1
    used = 2 * k + 1
    lines = features.new_empty(plan.most + samples, width, dtype=torch.float32)
    sums, of_sample = lines[: plan.most], lines[plan.most :]
    parts: Tensor | None
    if plan.one_pass:
        parts = features.new_empty(plan.most, length, dtype=torch.float32)
        small = length <= SMALL
        launch(
            one_pass_kernel,
            (plan.most,),
            *(grad_logits, features, offsets, projected_query, schedule, map_weight, score_weight),
            *(grad_x, position_of, factor, grad_features, sums, parts),
            *(frames, rows, samples, plan.most, width),
            C=channels,
            K=k,
            TILE=TILE,
            BLOCK_K=block_of(k),
            BLOCK_C=block_of(channels),
            BLOCK=512,
            num_warps=4 if small else 8,
            num_stages=2,
            # Three programs on a multiprocessor.
            maxnreg=168 if small else None,
        )
        adds = cdiv(length, _WIDTH)
        launch(
            sums_kernel,
            (adds + samples * cdiv(used, _WIDTH),),
            *(features, parts, schedule, sums, of_sample, of_map_weight),
            *(samples, plan.most, width, used, adds, length),
            BLOCK_LINES=_LINES,
            BLOCK_WIDTH=_WIDTH,
        )
        parts, number, adds = None, 0, 0
    else:
        capability = capability_of(features.device)
        inside = features.new_empty(rows, k)
        exact = precision(features.dtype)
        block_k, block_c, warps, stages = inside_blocks(features.dtype, channels, k, capability)
        if plan.most:
            launch(
                inside_kernel,
                (plan.most,),
                *(
                    grad_logits,
                    features,
                    projected_query,
                    schedule,
                    map_weight,
                    score_weight,
                    inside,
                    sums,
                ),
                *(samples, plan.most, width),
                C=channels,
                K=k,
                PRECISION=exact,
                TILE=TILE,
                BLOCK_K=block_k,
                BLOCK_C=block_c,
                STAGES=stages,
                RESIDENT=features.dtype != torch.float32 and block_c >= channels,
                num_warps=warps,
            )
        tile, block_c, block_d, warps, stages = product_blocks(
            features.dtype, channels, k, capability
        )
        blocks_c = cdiv(channels, block_c)
        blocks = cdiv(k, tile) * blocks_c
        number = max(1, min(programs_of(features.device, 1) // blocks, cdiv(rows, block_d)))
        tiles = cdiv(rows, tile)
        parts = features.new_empty(number, length, dtype=torch.float32)
        launch(
            products_kernel,
            (number * blocks + tiles * blocks_c + samples,),
            *(inside, features, offsets, map_weight, grad_x, position_of, factor, grad_features),
            *(parts, schedule, sums, of_sample, frames, rows, samples, plan.most, width),
            *(number, tiles),
            C=channels,
            K=k,
            PRECISION=exact,
            TILE=tile,
            BLOCK_C=block_c,
            BLOCK_D=block_d,
            BLOCK_LINES=_FEW_LINES,
            BLOCK_WIDTH=_WIDE,
            num_warps=warps,
            num_stages=stages,
        )
        adds = cdiv(length, FINISH_WIDTH)
    blocks_d = cdiv(depth, BLOCK_D)
    queries, weights = (cdiv(size, BLOCK) * blocks_d for size in (samples, k))
    return ScoreParts(
        *(features, parts, of_sample, query, query_weight, of_map_weight, of_query),
        *(of_map_bias, of_query_weight, of_score_weight, of_score_bias),
        *(number, length, samples, width, k, depth, adds, queries, weights),
        columns=cdiv(used, FINISH_WIDTH),
    )


def inside_blocks(
    dtype: torch.dtype, channels: int, k: int, capability: int
) -> tuple[int, int, int, int]:
    """Return the blocks of k and of channels, the number of warps and of stages."""
    block_k, block_c = block_of(k), block_of(channels)
    if dtype == torch.float32:
        return min(block_k, 64), min(block_c, 32), 8, 1
    if block_c <= 256:
        return min(block_k, 64), block_c, 4, 2 if block_c <= 128 else 1
    return min(block_k, 64), 64, 4, 2


def product_blocks(
    dtype: torch.dtype, channels: int, k: int, capability: int
) -> tuple[int, int, int, int, int]:
    """Return the rows of a tile, which are columns of k too, the blocks of channels and of the
    dimension that is summed over, the number of warps and of stages.
    """
    block_c = block_of(channels)
    if dtype == torch.float32:
        return 64, min(block_c, 64), 16, 8, 2
    return 128, min(block_c, 128), 64, 8, 3
