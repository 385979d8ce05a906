"""cross_modal_score: how much each site matters to a query."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from .. import backends, reference
from ..reference import (
    CrossModalScore,
    CrossModalScoreBackward,
    CrossModalScoreGradients,
    SparseCrossModalBlock,
    SparseCrossModalBlockBackward,
)
from ..sparse_feature_maps import SparseFeatureMaps
from .autograd import LATER, make_differentiable
from .checks import check_dtype, check_maps, check_tensor, values_are_known
from .registration import define_op

__all__ = [
    "check_inputs",
    "check_lengths",
    "cross_modal_score",
    "score_flops",
    "score_flops_backward",
]

_NAME = "cross_modal_score"
_Forward: TypeAlias = CrossModalScore | SparseCrossModalBlock
_Backward: TypeAlias = CrossModalScoreBackward | SparseCrossModalBlockBackward


def _arguments(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    score_weight: Tensor,
    score_bias: Tensor,
) -> CrossModalScore:
    parameters = (map_weight, map_bias, query_weight, score_weight, score_bias)
    check_inputs(x, query, lengths, *parameters)
    return CrossModalScore(x.features, x.offsets, query, lengths, *parameters)


def check_inputs(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    score_weight: Tensor,
    score_bias: Tensor,
) -> None:
    """Refuse arguments of `cross_modal_score` that do not fit each other.

    Raises:
        ValueError: x is no SparseFeatureMaps, or a shape, dtype or device does not fit.
    """
    check_maps(_NAME, x)
    device = x.device
    check_tensor(_NAME, "map_weight", map_weight, ("k", x.channels), device, "for {1} channels")
    k = map_weight.shape[0]
    if lengths is None:
        check_tensor(
            _NAME, "query", query, (x.frames, "D"), device, "for {0} frames without lengths"
        )
    else:
        check_tensor(_NAME, "lengths", lengths, ("B",), device)
        if lengths.dtype not in (torch.int32, torch.int64):
            raise ValueError(
                f"{_NAME}: lengths must be torch.int64 or torch.int32, got {lengths.dtype}"
            )
        samples = lengths.shape[0]
        check_tensor(_NAME, "query", query, (samples, "D"), device, "for {0} lengths")
    check_tensor(_NAME, "map_bias", map_bias, (k,), device)
    check_tensor(
        _NAME, "query_weight", query_weight, (k, query.shape[1]), device, "for queries of {1}"
    )
    check_tensor(_NAME, "score_weight", score_weight, (1, k), device)
    check_tensor(_NAME, "score_bias", score_bias, (1,), device)
    tensors = (query, map_weight, map_bias, query_weight, score_weight, score_bias)
    same = query.dtype is map_weight.dtype is map_bias.dtype is x.features.dtype
    if same and query_weight.dtype is score_weight.dtype is score_bias.dtype is query.dtype:
        return  # the usual case
    names = ("query", "map_weight", "map_bias", "query_weight", "score_weight", "score_bias")
    for name, tensor in zip(names, tensors, strict=True):
        check_dtype(_NAME, name, tensor, x, autocast=True)


def check_lengths(lengths: Tensor | None, offsets: Tensor, features: Tensor) -> None:
    """Refuse lengths that do not sum to the number of frames.

    Args:
        lengths: (B,) int64 or int32, the frames of each sample; None: one sample for each frame.
        offsets: (F + 1,) int32.
        features: (N, C); no Triton kernel checks lengths for float64, or where N or F is 0.

    Raises:
        ValueError: On a CPU, lengths are negative or do not sum to F. A GPU stops with an
            assertion that says so.
    """
    if lengths is None:
        return
    frames = offsets.shape[0] - 1
    message = f"{_NAME}: lengths must be at least 0 and sum to {frames} frames"
    if lengths.device.type == "cpu":
        values = lengths.tolist()
        if sum(values) != frames or min(values, default=0) < 0:
            raise ValueError(f"{message}, got {values}")
    elif (
        backends.requested() == "reference"
        or backends.available(_NAME, "triton")
        or features.dtype is torch.float64
        or not features.shape[0]
        or not frames
    ):
        # The host does not wait for this assertion. Triton's kernels check lengths themselves.
        torch._assert_async((lengths.sum() == frames) & (lengths >= 0).all(), message)


def _check(a: CrossModalScore) -> None:
    check_lengths(a.lengths, a.offsets, a.features)


def _fake(a: CrossModalScore) -> Tensor:
    wide = torch.promote_types(a.features.dtype, torch.float32)
    return a.features.new_empty(a.features.shape[0], dtype=wide)


def _fake_backward(a: CrossModalScoreBackward) -> CrossModalScoreGradients:
    return CrossModalScoreGradients(
        features=a.features.new_empty(a.features.shape),
        query=a.query.new_empty(a.query.shape),
        map_weight=a.map_weight.new_empty(a.map_weight.shape),
        map_bias=a.map_bias.new_empty(a.map_bias.shape),
        query_weight=a.query_weight.new_empty(a.query_weight.shape),
        score_weight=a.score_weight.new_empty(a.score_weight.shape),
        score_bias=a.score_weight.new_empty(1),
    )


def _multiply_accumulates(a: _Forward | _Backward) -> tuple[int, int, int]:
    """Return the multiply-accumulates of the map projection, the query projection and the score."""
    k, channels = a.map_weight.shape
    rows = int(a.offsets[-1]) if values_are_known(a.offsets) else a.features.shape[0]
    return rows * channels * k, a.query.shape[0] * a.query.shape[1] * k, rows * k


def score_flops(a: _Forward) -> int:
    """Return the FLOPs of the scores, in this op or in the block."""
    return 2 * sum(_multiply_accumulates(a))


def score_flops_backward(a: _Backward) -> int:
    """Return the FLOPs of the scores' gradients, in this op or in the block."""
    of_map, of_query, of_score = _multiply_accumulates(a)
    # Both projections again (the forward pass keeps no hidden values), then two products for each
    # projection.
    return 2 * (3 * of_map + 3 * of_query + 2 * of_score)


def _saved(a: CrossModalScore, out: Tensor) -> CrossModalScoreBackward:
    return CrossModalScoreBackward(
        grad_logits=LATER,
        features=a.features,
        offsets=a.offsets,
        query=a.query,
        lengths=a.lengths,
        map_weight=a.map_weight,
        map_bias=a.map_bias,
        query_weight=a.query_weight,
        score_weight=a.score_weight,
    )


_forward = define_op(
    reference.cross_modal_score,
    fake=_fake,
    flops=lambda a, _: score_flops(a),
    check=_check,
    arguments=_arguments,
    autocast=True,
    triton=True,
)
_backward = define_op(
    reference.cross_modal_score_backward,
    fake=_fake_backward,
    flops=lambda a, _: score_flops_backward(a),
    triton=True,
)
make_differentiable(_forward, _backward, saved=_saved)


def cross_modal_score(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    score_weight: Tensor,
    score_bias: Tensor,
) -> Tensor:
    """Score each active site against its sample's query (Dai et al., 2021, Eq. 1 and 2).

    logit[i] = score_weight @ tanh(map_weight @ x[i] + map_bias + query_weight @ q) + score_bias

    Under autocast the op runs in the autocast dtype, as a convolution does.

    Args:
        x: features (N, C); float32, bfloat16, float16 or float64.
        query: (B, D), one for each sample.
        lengths: (B,) int64 or int32, the frames of each sample; None: one query for each frame.
        map_weight: (k, C).
        map_bias: (k,).
        query_weight: (k, D).
        score_weight: (1, k).
        score_bias: (1,).

    Returns:
        Logits (N,), float32 (float64 for float64 features), zero in padding rows.

    Raises:
        ValueError: A shape, dtype or device does not fit, or lengths do not sum to the number of
            frames (a GPU checks the sum itself, and stops with an assertion).
    """
    return _forward(
        _arguments(
            x,
            query,
            lengths,
            map_weight,
            map_bias,
            query_weight,
            score_weight,
            score_bias,
        )
    )
