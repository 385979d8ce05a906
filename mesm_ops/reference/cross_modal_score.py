"""logit[i] = score · tanh(W_m x[i] + b_m + W_q q) + b_i (Dai et al., 2021, Eq. 1 and 2).

q is the query of the sample whose frame row i lies in.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class CrossModalScore(NamedTuple):
    """The arguments of `cross_modal_score`."""

    features: Tensor  # (N, C)
    offsets: Tensor  # (F + 1,)
    query: Tensor  # (B, D)
    lengths: Tensor | None  # (B,), frames of each sample; None: one each
    map_weight: Tensor  # (k, C)
    map_bias: Tensor  # (k,)
    query_weight: Tensor  # (k, D)
    score_weight: Tensor  # (1, k)
    score_bias: Tensor  # (1,)


class CrossModalScoreBackward(NamedTuple):
    """The arguments of `cross_modal_score_backward`."""

    grad_logits: Tensor  # (N,)
    features: Tensor  # (N, C)
    offsets: Tensor  # (F + 1,)
    query: Tensor  # (B, D)
    lengths: Tensor | None  # (B,)
    map_weight: Tensor  # (k, C)
    map_bias: Tensor  # (k,)
    query_weight: Tensor  # (k, D)
    score_weight: Tensor  # (1, k)


class CrossModalScoreGradients(NamedTuple):
    """The gradients of the arguments of these names, in their shapes and dtypes."""

    features: Tensor
    query: Tensor
    map_weight: Tensor
    map_bias: Tensor
    query_weight: Tensor
    score_weight: Tensor
    score_bias: Tensor


def cross_modal_score(a: CrossModalScore) -> Tensor:
    """Return the logits (N,), zero in padding; float32, or float64 for float64 features."""
    wide = torch.promote_types(a.features.dtype, torch.float32)
    sample, real = _sample_of_row(a)
    logits = _hidden(a, a.features, sample, wide) @ a.score_weight[0].to(wide)
    return torch.where(real, logits + a.score_bias.to(wide), 0)


def cross_modal_score_backward(a: CrossModalScoreBackward) -> CrossModalScoreGradients:
    """Return the gradients; padding rows take no part in them."""
    wide = torch.promote_types(a.features.dtype, torch.float32)
    sample, real = _sample_of_row(a)
    x = torch.where(real[:, None], a.features, 0).to(wide)
    # Even zeros of padding would make NaN of an infinite weight.
    hidden = torch.where(real[:, None], _hidden(a, x, sample, wide), 0)
    grad = torch.where(real, a.grad_logits, 0)
    grad_sum = grad[:, None] * a.score_weight.to(wide) * (1 - hidden**2)  # (N, k), inside the tanh
    grad_sum = torch.where(real[:, None], grad_sum, 0)

    samples = a.query.shape[0]
    by_sample = grad_sum.new_zeros(samples + 1, grad_sum.shape[1])
    by_sample = by_sample.index_add(0, sample, grad_sum)[:samples]
    return CrossModalScoreGradients(
        features=torch.where(real[:, None], grad_sum @ a.map_weight.to(wide), 0).to(
            a.features.dtype
        ),
        query=(by_sample @ a.query_weight.to(wide)).to(a.query.dtype),
        map_weight=(grad_sum.T @ x).to(a.map_weight.dtype),
        map_bias=grad_sum.sum(0).to(a.map_bias.dtype),
        query_weight=(by_sample.T @ a.query.to(wide)).to(a.query_weight.dtype),
        score_weight=(grad[None] @ hidden).to(a.score_weight.dtype),
        score_bias=grad.sum(0, keepdim=True).to(a.score_weight.dtype),
    )


def _hidden(
    a: CrossModalScore | CrossModalScoreBackward, x: Tensor, sample: Tensor, wide: torch.dtype
) -> Tensor:
    """Return the tanh of both projections' sum for each row of x, (N, k)."""
    query = a.query.to(wide) @ a.query_weight.to(wide).T  # (B, k)
    query = torch.cat([query, query.new_zeros(1, query.shape[1])])  # sample B: padding rows
    x = x.to(wide) @ a.map_weight.to(wide).T + a.map_bias.to(wide)
    return torch.tanh(x + query[sample])


def _sample_of_row(a: CrossModalScore | CrossModalScoreBackward) -> tuple[Tensor, Tensor]:
    """Return the sample of each row (the number of samples for padding) and which rows are real."""
    row = torch.arange(a.features.shape[0], device=a.features.device, dtype=torch.int32)
    frame = torch.bucketize(row, a.offsets[1:], right=True)
    real = row < a.offsets[-1]
    if a.lengths is None:
        return frame, real
    return torch.bucketize(frame, a.lengths.to(torch.int64).cumsum(0), right=True), real
