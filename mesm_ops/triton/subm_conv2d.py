"""subm_conv2d as an implicit product of matrices over a rulebook; rows are not reordered."""

from __future__ import annotations

import torch
from torch import Tensor

from ..reference import SubmConv2d, SubmConv2dBackward, SubmConv2dGradients
from .parts.convolution import convolve
from .parts.finish import finish
from .parts.reductions import column_sums
from .parts.rulebook import Rulebook, rulebook
from .parts.weight_gradient import tap_tiles, weight_gradient

__all__ = ["subm_conv2d", "subm_conv2d_backward"]


def subm_conv2d(a: SubmConv2d) -> Tensor:
    """Run `mesm_ops::subm_conv2d` in Triton."""
    out = a.features.new_empty((a.features.shape[0], a.weight.shape[0]))
    if out.shape[0]:
        rules = rulebook(a.sites, a.offsets, a.height, a.width)
        convolve(a.features, rules, _packed(a.weight), out, bias=a.bias)
    return out


def subm_conv2d_backward(a: SubmConv2dBackward) -> SubmConv2dGradients:
    """Run `mesm_ops::subm_conv2d_backward` in Triton."""
    features, weight = a.features, a.weight
    of_features = torch.empty_like(features) if a.needs_features else features.new_empty(0)
    of_weight = torch.empty_like(weight) if a.needs_weight else weight.new_empty(0)
    of_bias = weight.new_zeros(weight.shape[0]) if a.needs_bias else weight.new_empty(0)
    if not features.shape[0]:
        return SubmConv2dGradients(of_features, of_weight.zero_(), of_bias)
    rules = rulebook(a.sites, a.offsets, a.height, a.width)
    if a.needs_features:
        convolve(a.grad_out, rules, _packed(weight), of_features, transposed=True)
    if a.needs_weight:
        grad = _in_order(a.grad_out, rules)
        finish(weight_gradient(features, grad, rules, tap_tiles(rules), of_weight))
    if a.needs_bias:
        of_bias = column_sums(a.grad_out, rules.number).to(weight.dtype)
    return SubmConv2dGradients(of_features, of_weight, of_bias)


def _packed(weight: Tensor) -> Tensor:
    """Return a weight as (9, Cin, Cout)."""
    return weight.flatten(2).permute(2, 1, 0).contiguous()


def _in_order(rows: Tensor, rules: Rulebook) -> Tensor:
    """Return rows by position, zero behind the last."""
    assert rules.order is not None
    position = torch.arange(rules.order.shape[0], device=rows.device)
    there = (position < rules.number)[:, None]
    return torch.where(there, rows[torch.where(there[:, 0], rules.order.long(), 0)], 0)
