"""subm_conv2d: submanifold 3 x 3 convolution."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import reference
from ..reference import SubmConv2d, SubmConv2dBackward, SubmConv2dGradients
from ..sparse_feature_maps import SparseFeatureMaps
from .autograd import LATER, make_differentiable
from .checks import check_dtype, check_maps, check_tensor, values_are_known
from .registration import define_op

__all__ = ["active_pairs", "check_weight", "subm_conv2d"]

_NAME = "subm_conv2d"


def _arguments(x: SparseFeatureMaps, weight: Tensor, bias: Tensor | None = None) -> SubmConv2d:
    check_maps(_NAME, x)
    check_weight(x, weight, x.channels)
    if bias is not None:
        cout = weight.shape[0]
        check_tensor(_NAME, "bias", bias, (cout,), x.device, "for {0} output channels")
        check_dtype(_NAME, "bias", bias, x, autocast=True)
    return SubmConv2d(x.features, x.sites, x.offsets, x.height, x.width, weight, bias)


def check_weight(x: SparseFeatureMaps, weight: Tensor, channels: int) -> None:
    """Refuse a weight that does not fit the maps.

    Args:
        x: The maps, whose dtype and device the weight must have.
        weight: (Cout, channels, 3, 3).
        channels: The input channels.

    Raises:
        ValueError: A shape, dtype or device does not fit; says what was wanted and what came.
    """
    shape = ("Cout", channels, 3, 3)
    check_tensor(_NAME, "weight", weight, shape, x.device, "for {1} input channels")
    check_dtype(_NAME, "weight", weight, x, autocast=True)


def _fake(a: SubmConv2d) -> Tensor:
    return a.features.new_empty(a.features.shape[0], a.weight.shape[0])


def _fake_backward(a: SubmConv2dBackward) -> SubmConv2dGradients:
    return SubmConv2dGradients(
        features=a.features.new_empty(a.features.shape if a.needs_features else (0,)),
        weight=a.weight.new_empty(a.weight.shape if a.needs_weight else (0,)),
        bias=a.weight.new_empty(a.weight.shape[0] if a.needs_bias else 0),
    )


def active_pairs(sites: Tensor, offsets: Tensor, height: int, width: int) -> int:
    """Return the number of active input-output pairs: the length of the whole rulebook.

    For sites without values (fake tensors) the number is an upper bound, nine for each row.

    Args:
        sites: (N,) int32, ascending in each frame.
        offsets: (F + 1,) int32.
        height: Height of the maps.
        width: Width of the maps.
    """
    if not values_are_known(sites):
        return 9 * sites.shape[0]
    maps = SparseFeatureMaps._trusted(sites[:, None], sites, offsets, height, width)
    active = maps.mask().to(torch.float64)[:, None]
    neighbours = torch.nn.functional.conv2d(active, active.new_ones(1, 1, 3, 3), padding=1)
    return int((active * neighbours).sum())


def _product_flops(a: SubmConv2d | SubmConv2dBackward) -> int:
    """Return the FLOPs of one product of every active pair with the weight."""
    pairs = active_pairs(a.sites, a.offsets, a.height, a.width)
    return 2 * pairs * a.weight.shape[0] * a.weight.shape[1]


def _saved(a: SubmConv2d, out: Tensor) -> SubmConv2dBackward:
    return SubmConv2dBackward(
        grad_out=LATER,
        features=a.features,
        sites=a.sites,
        offsets=a.offsets,
        height=a.height,
        width=a.width,
        weight=a.weight,
        needs_features=LATER,
        needs_weight=LATER,
        needs_bias=LATER,
    )


_forward = define_op(
    reference.subm_conv2d,
    fake=_fake,
    flops=lambda a, _: _product_flops(a),
    arguments=_arguments,
    autocast=True,
    triton=True,
)
_backward = define_op(
    reference.subm_conv2d_backward,
    fake=_fake_backward,
    flops=lambda a, _: _product_flops(a) * (a.needs_features + a.needs_weight),
    triton=True,
)
make_differentiable(_forward, _backward, saved=_saved)


def subm_conv2d(
    x: SparseFeatureMaps, weight: Tensor, bias: Tensor | None = None
) -> SparseFeatureMaps:
    """Convolve at the active sites only (Graham and van der Maaten, 2017).

    y[s] = bias + sum over taps o with s + o active of weight[:, :, o] @ x[s + o]

    Under autocast the op runs in the autocast dtype, as torch's convolutions do.

    Args:
        x: features (N, Cin); float32, bfloat16, float16 or float64.
        weight: (Cout, Cin, 3, 3), x's dtype and device.
        bias: (Cout,), added at active sites.

    Returns:
        The sites of x with features (N, Cout).

    Raises:
        ValueError: A shape, dtype or device does not fit; says what was wanted and what came.
    """
    features = _forward(_arguments(x, weight, bias))
    return x.with_features(features)
