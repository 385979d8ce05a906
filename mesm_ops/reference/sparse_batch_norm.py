"""y = (x - mean) / sqrt(var + eps) * weight + bias per channel, then max(y, 0) if relu.

In training, mean and (biased) variance are those of the active sites (Ioffe and Szegedy, 2015).
"""

from __future__ import annotations

import torch
from torch import Tensor


def sparse_batch_norm(
    features: Tensor,  # (N, C)
    offsets: Tensor,  # (F + 1,)
    weight: Tensor,  # (C,)
    bias: Tensor,  # (C,)
    running_mean: Tensor,  # (C,)
    running_var: Tensor,  # (C,)
    training: bool,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features (N, C), zero in padding, and the mean and variance used."""
    wide = torch.promote_types(features.dtype, torch.float32)
    real, count = _real(features, offsets)
    x = torch.where(real, features, 0).to(wide)
    if training:
        mean = x.sum(0) / count
        var = torch.where(real, (x - mean) ** 2, 0).sum(0) / count
    else:
        mean, var = running_mean.to(wide, copy=True), running_var.to(wide, copy=True)
    out = (x - mean) * (var + eps).rsqrt() * weight.to(wide) + bias.to(wide)
    if relu:
        out = out.relu()
    return torch.where(real, out, 0).to(features.dtype), mean, var


def sparse_batch_norm_backward(
    grad_out: Tensor,  # (N, C)
    features: Tensor,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,  # (C,), as the forward pass returned it
    var: Tensor,  # (C,)
    training: bool,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of features, weight and bias."""
    wide = mean.dtype
    real, count = _real(features, offsets)
    x = torch.where(real, features, 0).to(wide)
    scale = (var + eps).rsqrt()
    normal = torch.where(real, (x - mean) * scale, 0)
    grad = torch.where(real, grad_out, 0).to(wide)
    if relu:
        grad = torch.where(normal * weight.to(wide) + bias.to(wide) <= 0, 0, grad)

    grad_weight, grad_bias = (grad * normal).sum(0), grad.sum(0)
    if training:
        grad = grad - (grad_bias + normal * grad_weight) / count
    grad_features = torch.where(real, grad * scale * weight.to(wide), 0)
    return (
        grad_features.to(features.dtype),
        grad_weight.to(weight.dtype),
        grad_bias.to(bias.dtype),
    )


def _real(features: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows are real, (N, 1) bool, and their number, at least 1 to divide by."""
    row = torch.arange(features.shape[0], device=features.device)
    return (row < offsets[-1])[:, None], offsets[-1].clamp(min=1)
