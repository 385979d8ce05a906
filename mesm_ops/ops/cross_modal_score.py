"""cross_modal_score: how much each site matters to a query."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..sparse_feature_maps import SparseFeatureMaps
from .checks import check_dtype, check_maps, check_tensor, values_are_known
from .registration import define_op, make_differentiable

__all__ = ["cross_modal_score"]

_NAME = "cross_modal_score"


def _arguments(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    score_weight: Tensor,
    score_bias: Tensor,
) -> tuple[Any, ...]:
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
    for name, tensor in (
        ("query", query),
        ("map_weight", map_weight),
        ("map_bias", map_bias),
        ("query_weight", query_weight),
        ("score_weight", score_weight),
        ("score_bias", score_bias),
    ):
        check_dtype(_NAME, name, tensor, x, autocast=True)
    parameters = (map_weight, map_bias, query_weight, score_weight, score_bias)
    return (x.features, x.offsets, query, lengths, *parameters)


def _check(
    features: Tensor, offsets: Tensor, query: Tensor, lengths: Tensor | None, *_: Tensor
) -> None:
    if lengths is None:
        return
    frames = offsets.shape[0] - 1
    message = f"{_NAME}: lengths must be at least 0 and sum to {frames} frames"
    if lengths.device.type == "cpu":
        values = lengths.tolist()
        if sum(values) != frames or min(values, default=0) < 0:
            raise ValueError(f"{message}, got {values}")
    else:  # nothing may wait for the device: it checks by itself, when it gets there
        torch._assert_async((lengths.sum() == frames) & (lengths >= 0).all(), message)


def _fake(features: Tensor, *_: Any) -> Tensor:
    wide = torch.promote_types(features.dtype, torch.float32)
    return features.new_empty(features.shape[0], dtype=wide)


def _fake_backward(
    grad_logits: Tensor,
    features: Tensor,
    offsets: Tensor,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    score_weight: Tensor,
) -> tuple[Tensor, ...]:
    inputs = (features, query, map_weight, map_bias, query_weight, score_weight)
    return (*(t.new_empty(t.shape) for t in inputs), score_weight.new_empty(1))


def _multiply_accumulates(
    features: Tensor, offsets: Tensor, query: Tensor, map_weight: Tensor
) -> tuple[int, int, int]:
    """Return those of the map's projection, of the query's, and of the score."""
    k, channels = map_weight.shape
    rows = int(offsets[-1]) if values_are_known(offsets) else features.shape[0]
    return rows * channels * k, query.shape[0] * query.shape[1] * k, rows * k


def _flops(
    features: Tensor,
    offsets: Tensor,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    *_: Any,
    **__: Any,
) -> int:
    return 2 * sum(_multiply_accumulates(features, offsets, query, map_weight))


def _flops_backward(
    grad_logits: Tensor,
    features: Tensor,
    offsets: Tensor,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    *_: Any,
    **__: Any,
) -> int:
    of_map, of_query, of_score = _multiply_accumulates(features, offsets, query, map_weight)
    # Both projections once more (their sum is not kept), then two products for each.
    return 2 * (3 * of_map + 3 * of_query + 2 * of_score)


_forward = define_op(
    _NAME,
    "(Tensor features, Tensor offsets, Tensor query, Tensor? lengths, Tensor map_weight, "
    "Tensor map_bias, Tensor query_weight, Tensor score_weight, Tensor score_bias) -> Tensor",
    reference=reference.cross_modal_score,
    fake=_fake,
    flops=_flops,
    check=_check,
    arguments=_arguments,
    autocast=True,
    triton=True,
)
_backward = define_op(
    f"{_NAME}_backward",
    "(Tensor grad_logits, Tensor features, Tensor offsets, Tensor query, Tensor? lengths, "
    "Tensor map_weight, Tensor map_bias, Tensor query_weight, Tensor score_weight) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference.cross_modal_score_backward,
    fake=_fake_backward,
    flops=_flops_backward,
    triton=True,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-1])  # score_bias is not needed


def _gradients(ctx: Any, grad_logits: Tensor) -> tuple[Tensor | None, ...]:
    features, query, *parameters = _backward(grad_logits, *ctx.saved_tensors)
    return (features, None, query, None, *parameters)


make_differentiable(_forward, _backward, save=_save, gradients=_gradients)


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

    Under autocast it runs in the autocast dtype, as a convolution does.

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
            frames (on a GPU that is checked on the device, which stops with an assertion).
    """
    logits: Tensor = _forward(
        *_arguments(
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
    return logits
