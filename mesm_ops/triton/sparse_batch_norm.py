"""sparse_batch_norm: statistics of shares of the rows, then of all, then the norm itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .parts.norm_gradients import norm_gradient_all_rows, norm_sums
from .parts.norms import norm_all_rows, norm_of, norm_statistics
from .parts.reductions import combine, total

__all__ = ["sparse_batch_norm", "sparse_batch_norm_backward"]


def sparse_batch_norm(
    features: Tensor,  # (N, C)
    offsets: Tensor,  # (F + 1,)
    weight: Tensor,  # (C,)
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the op of that name, arguments and results as in its schema."""
    number = offsets[-1:]
    norm = norm_of(weight, bias, eps)
    out = torch.empty_like(features)
    if training:
        partial, even = norm_statistics(features, number)
        combine(partial, number, norm, even=even)
        norm_all_rows(features, number, weight, bias, norm.mean, norm.var, eps, relu, out, None)
    else:
        used = (running_mean, running_var)
        copies = (norm.mean, norm.var)
        norm_all_rows(features, number, weight, bias, *used, eps, relu, out, copies)
    return out, norm.mean, norm.var


def sparse_batch_norm_backward(
    grad_out: Tensor,  # (N, C)
    features: Tensor,
    offsets: Tensor,  # (F + 1,)
    weight: Tensor,  # (C,)
    bias: Tensor,
    mean: Tensor,  # (C,) float32
    var: Tensor,
    training: bool,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the op of that name, arguments and results as in its schema."""
    number = offsets[-1:]
    norm = (weight, bias, mean, var, eps, relu)
    sums = features.new_empty((2, features.shape[1]), dtype=torch.float32)
    of_weight, of_bias = torch.empty_like(weight), torch.empty_like(bias)
    total(norm_sums(grad_out, features, number, *norm), None, var, eps, sums, of_weight, of_bias)
    out = torch.empty_like(features)
    norm_gradient_all_rows(grad_out, features, number, *norm, sums, out, training=training)
    return out, of_weight, of_bias
