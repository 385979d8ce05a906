"""The folding of a norm in evaluation, as `prepare` does it, in torch."""

from __future__ import annotations

from torch import Tensor

from mesm_ops.triton.parts.norms import Norm


def fold(norm: Norm, mean: Tensor, var: Tensor) -> None:
    """Fill a norm from a mean and a variance, (C,) each."""
    norm.mean.copy_(mean)
    norm.var.copy_(var)
    norm.scale.copy_(norm.weight / (norm.var + norm.eps).sqrt())
    norm.shift.copy_(norm.bias - norm.mean * norm.scale)
