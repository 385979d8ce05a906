"""sparse_batch_norm: statistics of shares of the rows, then of all, then the norm itself."""

from __future__ import annotations

import torch

from ..reference import (
    SparseBatchNorm,
    SparseBatchNormBackward,
    SparseBatchNormGradients,
    SparseBatchNormResult,
)
from .parts.norm_gradients import norm_gradient_all_rows, norm_sums
from .parts.norms import norm_all_rows, norm_of, norm_statistics
from .parts.reductions import combine, total

__all__ = ["sparse_batch_norm", "sparse_batch_norm_backward"]


def sparse_batch_norm(a: SparseBatchNorm) -> SparseBatchNormResult:
    """Run `mesm_ops::sparse_batch_norm` in Triton."""
    number = a.offsets[-1:]
    norm = norm_of(a.weight, a.bias, a.eps)
    out = torch.empty_like(a.features)
    given = (a.features, number, a.weight, a.bias)
    if a.training:
        partial, even = norm_statistics(a.features, number)
        combine(partial, partial.shape[0], number, norm, centred=True, even=even)
        norm_all_rows(*given, norm.mean, norm.var, a.eps, a.relu, out, None)
    else:
        copies = (norm.mean, norm.var)
        norm_all_rows(*given, a.running_mean, a.running_var, a.eps, a.relu, out, copies)
    return SparseBatchNormResult(out, norm.mean, norm.var)


def sparse_batch_norm_backward(a: SparseBatchNormBackward) -> SparseBatchNormGradients:
    """Run `mesm_ops::sparse_batch_norm_backward` in Triton."""
    number = a.offsets[-1:]
    norm = (a.weight, a.bias, a.mean, a.var, a.eps, a.relu)
    sums = a.features.new_empty((2, a.features.shape[1]), dtype=torch.float32)
    of_weight, of_bias = torch.empty_like(a.weight), torch.empty_like(a.bias)
    partial = norm_sums(a.grad_out, a.features, number, *norm)
    total(partial, None, a.var, a.eps, sums, of_weight, of_bias)
    out = torch.empty_like(a.features)
    norm_gradient_all_rows(a.grad_out, a.features, number, *norm, sums, out, training=a.training)
    return SparseBatchNormGradients(out, of_weight, of_bias)
