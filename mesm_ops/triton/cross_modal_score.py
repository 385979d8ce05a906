"""cross_modal_score: a launch for all small work, then one pass over the rows.

Backward the hidden values are computed again; the launches are those of `score_gradients`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .parts.prepare import prepare
from .parts.schedule import schedule_of
from .parts.score import score
from .parts.score_gradients import score_gradients

__all__ = ["cross_modal_score", "cross_modal_score_backward"]


def cross_modal_score(
    features: Tensor,  # (N, C)
    offsets: Tensor,  # (F + 1,)
    query: Tensor,  # (B, D)
    lengths: Tensor | None,  # (B,)
    map_weight: Tensor,  # (k, C)
    map_bias: Tensor,  # (k,)
    query_weight: Tensor,  # (k, D)
    score_weight: Tensor,  # (1, k)
    score_bias: Tensor,  # (1,)
) -> Tensor:
    """Return the logits (N,) float32, zero in padding."""
    rows, dtype = features.shape[0], features.dtype
    logits = features.new_empty(rows, dtype=torch.float32)
    asked = features.new_empty(query.shape[0], map_weight.shape[0], dtype=torch.float32)
    sample_of_row = offsets.new_empty(rows)
    mapped = (
        None if map_weight.dtype == dtype else map_weight.new_empty(map_weight.shape, dtype=dtype)
    )
    prepare(
        *(features, offsets, query, lengths, map_weight, map_bias, query_weight),
        *(asked, mapped, sample_of_row),
    )
    mapped = map_weight if mapped is None else mapped
    score(features, offsets, asked, sample_of_row, mapped, score_weight, score_bias, logits)
    return logits


def cross_modal_score_backward(
    grad_logits: Tensor,  # (N,)
    features: Tensor,
    offsets: Tensor,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    score_weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of features, query, both map, the query and both score parameters."""
    (rows, channels), dtype = features.shape, features.dtype
    samples, k = query.shape[0], map_weight.shape[0]
    plan = schedule_of(rows, samples, channels, k, dtype, features.device)
    schedule = offsets.new_empty(plan.size)
    asked = features.new_empty(samples, k, dtype=torch.float32)
    mapped = (
        None if map_weight.dtype == dtype else map_weight.new_empty(map_weight.shape, dtype=dtype)
    )
    prepare(
        *(features, offsets, query, lengths, map_weight, map_bias, query_weight),
        *(asked, mapped, None, plan, schedule),
    )
    inputs = (features, query, map_weight, map_bias, query_weight, score_weight)
    gradients = tuple(tensor.new_empty(tensor.shape) for tensor in inputs)
    of_features, of_query, of_map_weight, of_map_bias, of_query_weight, of_score = gradients
    of_score_bias = score_weight.new_empty(1)
    score_gradients(
        *(plan, grad_logits, features, offsets, query, asked, schedule),
        *(map_weight if mapped is None else mapped, query_weight, score_weight),
        *(*gradients, of_score_bias),
    )
    return (
        *(of_features, of_query, of_map_weight, of_map_bias, of_query_weight, of_score),
        of_score_bias,
    )
