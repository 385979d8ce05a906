"""logit[i] = score · tanh(W_m x[i] + b_m + W_q q) + b_i (Dai et al., 2021, Eq. 1 and 2).

q is the query of the sample whose frame row i lies in.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    """Return the logits (N,), zero in padding; float32, or float64 for float64 features."""
    wide = torch.promote_types(features.dtype, torch.float32)
    sample, real = _sample_of_row(features, offsets, lengths)
    hidden = _hidden(features, query, sample, map_weight, map_bias, query_weight, wide)
    logits = hidden @ score_weight[0].to(wide) + score_bias.to(wide)
    return torch.where(real, logits, 0)


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
    wide = torch.promote_types(features.dtype, torch.float32)
    sample, real = _sample_of_row(features, offsets, lengths)
    x = torch.where(real[:, None], features, 0).to(wide)
    hidden = _hidden(x, query, sample, map_weight, map_bias, query_weight, wide)
    grad = torch.where(real, grad_logits, 0)
    grad_sum = grad[:, None] * score_weight.to(wide) * (1 - hidden**2)  # (N, k), inside the tanh

    samples = query.shape[0]
    by_sample = grad_sum.new_zeros(samples + 1, grad_sum.shape[1])
    by_sample = by_sample.index_add(0, sample, grad_sum)[:samples]
    return (
        (grad_sum @ map_weight.to(wide)).to(features.dtype),
        (by_sample @ query_weight.to(wide)).to(query.dtype),
        (grad_sum.T @ x).to(map_weight.dtype),
        grad_sum.sum(0).to(map_bias.dtype),
        (by_sample.T @ query.to(wide)).to(query_weight.dtype),
        (grad[None] @ hidden).to(score_weight.dtype),
        grad.sum(0, keepdim=True).to(score_weight.dtype),
    )


def _hidden(
    features: Tensor,
    query: Tensor,
    sample: Tensor,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    wide: torch.dtype,
) -> Tensor:
    asked = query.to(wide) @ query_weight.to(wide).T  # (B, k)
    asked = torch.cat([asked, asked.new_zeros(1, asked.shape[1])])  # sample B: padding rows
    return torch.tanh(features.to(wide) @ map_weight.to(wide).T + map_bias.to(wide) + asked[sample])


def _sample_of_row(
    features: Tensor, offsets: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the sample of each row (the number of samples for padding) and which rows are real."""
    row = torch.arange(features.shape[0], device=features.device, dtype=torch.int32)
    frame = torch.bucketize(row, offsets[1:], right=True)
    real = row < offsets[-1]
    if lengths is None:
        return frame, real
    return torch.bucketize(frame, lengths.to(torch.int64).cumsum(0), right=True), real
