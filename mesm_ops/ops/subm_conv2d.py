"""subm_conv2d: submanifold 3 x 3 convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..sparse_feature_maps import SparseFeatureMaps
from .checks import check_dtype, check_maps, check_tensor, values_are_known
from .registration import define_op, make_differentiable

__all__ = ["subm_conv2d"]

_NAME = "subm_conv2d"


def _arguments(x: SparseFeatureMaps, weight: Tensor, bias: Tensor | None = None) -> tuple[Any, ...]:
    check_maps(_NAME, x)
    shape = ("Cout", x.channels, 3, 3)
    check_tensor(_NAME, "weight", weight, shape, x.device, "for {1} input channels")
    check_dtype(_NAME, "weight", weight, x, autocast=True)
    if bias is not None:
        cout = weight.shape[0]
        check_tensor(_NAME, "bias", bias, (cout,), x.device, "for {0} output channels")
        check_dtype(_NAME, "bias", bias, x, autocast=True)
    return (x.features, x.sites, x.offsets, x.height, x.width, weight, bias)


def _fake(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    weight: Tensor,
    bias: Tensor | None,
) -> Tensor:
    return features.new_empty(features.shape[0], weight.shape[0])


def _fake_backward(
    grad_out: Tensor,
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    weight: Tensor,
    needs_features: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        features.new_empty(features.shape if needs_features else (0,)),
        weight.new_empty(weight.shape if needs_weight else (0,)),
        weight.new_empty(weight.shape[0] if needs_bias else 0),
    )


def _pairs(sites: Tensor, offsets: Tensor, height: int, width: int) -> int:
    """Return the number of active input-output pairs: the length of the whole rulebook.

    Of sites without values (fake tensors), the most there can be: nine for each row.
    """
    if not values_are_known(sites):
        return 9 * sites.shape[0]
    maps = SparseFeatureMaps._trusted(sites[:, None], sites, offsets, height, width)
    active = maps.mask().to(torch.float64)[:, None]
    neighbours = torch.nn.functional.conv2d(active, active.new_ones(1, 1, 3, 3), padding=1)
    return int((active * neighbours).sum())


def _flops(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    weight: Tensor,
    *_: Any,
    **__: Any,
) -> int:
    return 2 * _pairs(sites, offsets, height, width) * weight.shape[0] * weight.shape[1]


def _flops_backward(
    grad_out: Tensor,
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    weight: Tensor,
    needs_features: bool,
    needs_weight: bool,
    needs_bias: bool,
    **_: Any,
) -> int:
    one = _flops(features, sites, offsets, height, width, weight)
    return one * (int(needs_features) + int(needs_weight))


_forward = define_op(
    _NAME,
    "(Tensor features, Tensor sites, Tensor offsets, SymInt height, SymInt width, Tensor weight, "
    "Tensor? bias) -> Tensor",
    reference=reference.subm_conv2d,
    fake=_fake,
    flops=_flops,
    arguments=_arguments,
    autocast=True,
    triton=True,
)
_backward = define_op(
    f"{_NAME}_backward",
    "(Tensor grad_out, Tensor features, Tensor sites, Tensor offsets, SymInt height, "
    "SymInt width, Tensor weight, bool needs_features, bool needs_weight, bool needs_bias) "
    "-> (Tensor, Tensor, Tensor)",
    reference=reference.subm_conv2d_backward,
    fake=_fake_backward,
    flops=_flops_backward,
    triton=True,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, sites, offsets, ctx.height, ctx.width, weight, _ = inputs
    ctx.save_for_backward(features, sites, offsets, weight)


def _gradients(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    features, sites, offsets, weight = ctx.saved_tensors
    needs = (ctx.needs_input_grad[0], ctx.needs_input_grad[5], ctx.needs_input_grad[6])
    maps = (features, sites, offsets, ctx.height, ctx.width)
    grads = _backward(grad_out, *maps, weight, *needs)
    x, w, b = (grad if need else None for grad, need in zip(grads, needs, strict=True))
    return (x, None, None, None, None, w, b)


make_differentiable(_forward, _backward, save=_save, gradients=_gradients)


def subm_conv2d(
    x: SparseFeatureMaps, weight: Tensor, bias: Tensor | None = None
) -> SparseFeatureMaps:
    """Convolve at the active sites only (Graham and van der Maaten, 2017).

    y[s] = bias + sum over offsets o with s + o active of weight[:, :, o] @ x[s + o]

    Under autocast it runs in the autocast dtype, as torch's convolutions do.

    Args:
        x: features (N, Cin); float32, bfloat16, float16 or float64.
        weight: (Cout, Cin, 3, 3), x's dtype and device.
        bias: (Cout,), added at active sites.

    Returns:
        The sites of x with features (N, Cout).

    Raises:
        ValueError: A shape, dtype or device does not fit; says what was wanted and what came.
    """
    features = _forward(*_arguments(x, weight, bias))
    return x.with_features(features)
