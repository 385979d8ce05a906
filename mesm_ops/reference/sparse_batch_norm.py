"""y = (x - mean) / sqrt(var + eps) * weight + bias per channel, then max(y, 0) if relu.

In training, mean and (biased) variance are those of the active sites (Ioffe and Szegedy, 2015).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SparseBatchNorm(NamedTuple):
    """The arguments of `sparse_batch_norm`."""

    features: Tensor  # (N, C)
    offsets: Tensor  # (F + 1,)
    weight: Tensor  # (C,)
    bias: Tensor  # (C,)
    running_mean: Tensor  # (C,)
    running_var: Tensor  # (C,)
    training: bool
    eps: float
    relu: bool


class SparseBatchNormResult(NamedTuple):
    """The results of `sparse_batch_norm`."""

    features: Tensor  # (N, C), zero in padding
    mean: Tensor  # (C,), which normalised the rows; float32, or float64 for float64 features
    var: Tensor  # (C,), likewise


class SparseBatchNormBackward(NamedTuple):
    """The arguments of `sparse_batch_norm_backward`."""

    grad_out: Tensor  # (N, C)
    features: Tensor  # (N, C)
    offsets: Tensor  # (F + 1,)
    weight: Tensor  # (C,)
    bias: Tensor  # (C,)
    mean: Tensor  # (C,), as the forward pass returned it
    var: Tensor  # (C,), likewise
    training: bool
    eps: float
    relu: bool


class SparseBatchNormGradients(NamedTuple):
    """The gradients of the arguments of these names, in their shapes and dtypes."""

    features: Tensor
    weight: Tensor
    bias: Tensor


def sparse_batch_norm(a: SparseBatchNorm) -> SparseBatchNormResult:
    """Normalise the rows; padding takes no part in the statistics."""
    wide = torch.promote_types(a.features.dtype, torch.float32)
    real, count = _real(a.features, a.offsets)
    x = torch.where(real, a.features, 0).to(wide)
    if a.training:
        mean = x.sum(0) / count
        var = torch.where(real, (x - mean) ** 2, 0).sum(0) / count
    else:
        mean, var = a.running_mean.to(wide, copy=True), a.running_var.to(wide, copy=True)
    out = (x - mean) * (var + a.eps).rsqrt() * a.weight.to(wide) + a.bias.to(wide)
    if a.relu:
        out = out.relu()
    return SparseBatchNormResult(torch.where(real, out, 0).to(a.features.dtype), mean, var)


def sparse_batch_norm_backward(a: SparseBatchNormBackward) -> SparseBatchNormGradients:
    """Return the gradients; padding rows take no part in them."""
    wide = a.mean.dtype
    real, count = _real(a.features, a.offsets)
    x = torch.where(real, a.features, 0).to(wide)
    scale = (a.var + a.eps).rsqrt()
    normal = torch.where(real, (x - a.mean) * scale, 0)
    grad = torch.where(real, a.grad_out, 0).to(wide)
    if a.relu:
        grad = torch.where(normal * a.weight.to(wide) + a.bias.to(wide) <= 0, 0, grad)

    grad_weight, grad_bias = (grad * normal).sum(0), grad.sum(0)
    if a.training:
        grad = grad - (grad_bias + normal * grad_weight) / count
    grad_features = torch.where(real, grad * scale * a.weight.to(wide), 0)
    return SparseBatchNormGradients(
        features=grad_features.to(a.features.dtype),
        weight=grad_weight.to(a.weight.dtype),
        bias=grad_bias.to(a.bias.dtype),
    )


def _real(features: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows are real, (N, 1) bool, and their number, at least 1 to divide by."""
    row = torch.arange(features.shape[0], device=features.device)
    return (row < offsets[-1])[:, None], offsets[-1].clamp(min=1)
