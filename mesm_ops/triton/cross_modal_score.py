"""cross_modal_score: a launch for all small work, then one pass over the rows.

The backward pass computes the hidden values again, in the launches of `score_gradients`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..reference import CrossModalScore, CrossModalScoreBackward, CrossModalScoreGradients
from .parts.finish import finish
from .parts.prepare import prepare
from .parts.schedule import schedule_of
from .parts.score import score
from .parts.score_gradients import score_gradients

__all__ = ["cross_modal_score", "cross_modal_score_backward"]


def cross_modal_score(a: CrossModalScore) -> Tensor:
    """Run `mesm_ops::cross_modal_score` in Triton."""
    features, rows = a.features, a.features.shape[0]
    logits = features.new_empty(rows, dtype=torch.float32)
    projected_query = features.new_empty(
        a.query.shape[0], a.map_weight.shape[0], dtype=torch.float32
    )
    sample_of_row = a.offsets.new_empty(rows)
    mapped = _cast(a.map_weight, features)
    prepare(
        *(features, a.offsets, a.query, a.lengths, a.map_weight, a.map_bias, a.query_weight),
        *(projected_query, mapped, sample_of_row),
    )
    score(
        *(features, a.offsets, projected_query, sample_of_row),
        *(a.map_weight if mapped is None else mapped, a.score_weight, a.score_bias, logits),
    )
    return logits


def cross_modal_score_backward(a: CrossModalScoreBackward) -> CrossModalScoreGradients:
    """Run `mesm_ops::cross_modal_score_backward` in Triton."""
    features, (rows, channels) = a.features, a.features.shape
    samples, k = a.query.shape[0], a.map_weight.shape[0]
    plan = schedule_of(rows, samples, channels, k, features.dtype, features.device)
    schedule = a.offsets.new_empty(plan.size)
    projected_query = features.new_empty(samples, k, dtype=torch.float32)
    mapped = _cast(a.map_weight, features)
    prepare(
        *(features, a.offsets, a.query, a.lengths, a.map_weight, a.map_bias, a.query_weight),
        *(projected_query, mapped, None, plan, schedule),
    )
    inputs = (features, a.query, a.map_weight, a.map_bias, a.query_weight, a.score_weight)
    made = [*(tensor.new_empty(tensor.shape) for tensor in inputs), a.score_weight.new_empty(1)]
    found = CrossModalScoreGradients(*made)
    scores = score_gradients(
        *(plan, a.grad_logits, features, a.offsets, a.query, projected_query, schedule),
        *(a.map_weight if mapped is None else mapped, a.query_weight, a.score_weight, *found),
    )
    finish(scores=scores)
    return found


def _cast(weight: Tensor, features: Tensor) -> Tensor | None:
    """Return room for a weight in the features' dtype; None: the weight has this dtype."""
    if weight.dtype == features.dtype:
        return None
    return weight.new_empty(weight.shape, dtype=features.dtype)
