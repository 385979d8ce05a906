"""sparse_batch_norm with the statistics of all processes, in training."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from .. import backends
from ..reference import SparseBatchNorm, SparseBatchNormBackward
from .sparse_batch_norm import norm_backward_op, norm_op

__all__ = ["Normalised", "synchronised_norm"]


class Normalised(NamedTuple):
    """The result of `synchronised_norm`.

    Attributes:
        features: (N, C), zero in padding.
        mean: (C,), of all processes' rows; float32, or float64 for float64 features.
        var: (C,), likewise, biased.
        rows: One number, the rows of all processes; of the same dtype.
    """

    features: Tensor
    mean: Tensor
    var: Tensor
    rows: Tensor


@torch._disable_dynamo  # a compiled graph holds no collective of another's choosing
def synchronised_norm(a: SparseBatchNorm, group: Any) -> Normalised:
    """Normalise each channel over the active rows of all processes, then maybe ReLU.

    The mean of all rows is that of the processes' means, weighted by their rows; variances
    likewise, with the spread of the means (Chan et al., 1979), in float64 and in the order of the
    ranks, so that all processes find the same numbers. The gradient is that of the sum of all
    processes' losses with regard to this process's rows.

    Args:
        a: The arguments of `sparse_batch_norm`, in training; running statistics are not read.
        group: The processes; None: all. Each must call with as many channels, in the same order
            of calls, and run backward if any does.
    """
    return Normalised(
        *_Synchronised.apply(a.features, a.offsets, a.weight, a.bias, a.eps, a.relu, group)
    )


class _Synchronised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        offsets: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        relu: bool,
        group: Any,
    ) -> tuple[Tensor, ...]:
        mean, var, rows = _statistics(features, offsets, group)
        wide = mean.dtype
        # In these dtypes the sums that the backward op returns are not rounded.
        scale, shift = weight.to(wide), bias.to(wide)
        out = norm_op(SparseBatchNorm(features, offsets, scale, shift, mean, var, False, eps, relu))
        ctx.save_for_backward(features, offsets, weight, bias, mean, var, rows)
        ctx.settings = eps, relu, group, backends.requested()
        ctx.mark_non_differentiable(mean, var, rows)
        return out.features, mean, var, rows

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        features, offsets, weight, bias, mean, var, rows = ctx.saved_tensors
        eps, relu, group, backend = ctx.settings
        wide = mean.dtype
        scale, shift = weight.to(wide), bias.to(wide)
        with backends.use_backend(backend):  # autograd may run in a thread of its own
            # With fixed statistics; what follows is that they depend on the rows.
            found = norm_backward_op(
                SparseBatchNormBackward(
                    grad, features, offsets, scale, shift, mean, var, False, eps, relu
                )
            )
        sums = torch.stack([found.bias, found.weight]).to(torch.float64)
        dist.all_reduce(sums, group=group)
        of_bias, of_weight = (sums / rows.to(torch.float64).clamp(min=1)).to(wide)
        real = _real(features, offsets)
        deviation = (var + eps).rsqrt()
        normal = (features.to(wide) - mean) * deviation
        less = torch.where(real, (of_bias + normal * of_weight) * (deviation * scale), 0)
        return (
            (found.features.to(wide) - less).to(features.dtype),
            None,
            found.weight.to(weight.dtype),
            found.bias.to(bias.dtype),
            *(None, None, None),
        )


def _statistics(features: Tensor, offsets: Tensor, group: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, biased variance and number of the rows of all processes."""
    wide = torch.promote_types(features.dtype, torch.float32)
    real, count = _real(features, offsets), offsets[-1:].to(torch.float64)
    x = torch.where(real, features, 0).to(wide)
    mean = x.sum(0, dtype=torch.float64) / count.clamp(min=1)
    spread = torch.where(real, (x - mean.to(wide)) ** 2, 0).sum(0, dtype=torch.float64)
    own = torch.cat([count, mean, spread])
    every = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, own, group=group)
    counts, means, spreads = torch.stack(every).split([1, *(features.shape[1],) * 2], 1)
    rows = counts.sum()
    least = rows.clamp(min=1)
    mean = (counts * means).sum(0) / least
    var = (spreads + counts * (means - mean) ** 2).sum(0) / least
    return mean.to(wide), var.to(wide), rows.to(wide)


def _real(features: Tensor, offsets: Tensor) -> Tensor:
    """Return which rows are no padding, (N, 1) bool."""
    return (torch.arange(features.shape[0], device=features.device) < offsets[-1])[:, None]
