"""sparse_max_pool2d: 2 x 2 max-pooling over active sites."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..sparse_feature_maps import SparseFeatureMaps
from .checks import check_maps, trims
from .registration import define_op, make_differentiable

__all__ = ["sparse_max_pool2d"]

_NAME = "sparse_max_pool2d"


def _arguments(x: SparseFeatureMaps) -> tuple[Any, ...]:
    check_maps(_NAME, x)
    if x.height < 2 or x.width < 2:
        raise ValueError(f"{_NAME}: maps must be at least 2 x 2, got {x.height} x {x.width}")
    return (x.features, x.sites, x.offsets, x.height, x.width, trims(x.features))


def _fake(
    features: Tensor, sites: Tensor, offsets: Tensor, height: int, width: int, trim: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if trim:
        rows = torch.library.get_ctx().new_dynamic_size()
    else:
        windows = (offsets.shape[0] - 1) * (height // 2) * (width // 2)
        rows = torch.sym_min(features.shape[0], windows)
    return (
        features.new_empty(rows, features.shape[1]),
        sites.new_empty(rows),
        offsets.new_empty(offsets.shape),
        sites.new_empty(rows, features.shape[1]),
    )


def _fake_backward(grad_out: Tensor, argmax: Tensor, rows: int) -> Tensor:
    return grad_out.new_empty(rows, grad_out.shape[1])


_forward = define_op(
    _NAME,
    "(Tensor features, Tensor sites, Tensor offsets, SymInt height, SymInt width, bool trim) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    reference=reference.sparse_max_pool2d,
    fake=_fake,
    arguments=_arguments,
)
_backward = define_op(
    f"{_NAME}_backward",
    "(Tensor grad_out, Tensor argmax, SymInt rows) -> Tensor",
    reference=reference.sparse_max_pool2d_backward,
    fake=_fake_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, sites, offsets, argmax = output
    ctx.mark_non_differentiable(sites, offsets, argmax)
    ctx.save_for_backward(argmax)
    ctx.rows = inputs[0].shape[0]


def _gradients(ctx: Any, grad_out: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    return (_backward(grad_out, *ctx.saved_tensors, ctx.rows), None, None, None, None, None)


make_differentiable(_forward, _backward, save=_save, gradients=_gradients)


def sparse_max_pool2d(x: SparseFeatureMaps) -> SparseFeatureMaps:
    """Take the maximum over the active sites of each 2 x 2 window, stride 2.

    y[t] = max over active s in window t of x[s]; t is active if any s is

    As in `torch.nn.MaxPool2d`, an odd last row or column is dropped and NaN is the greatest.

    Args:
        x: features (N, C), height and width at least 2; float32, bfloat16, float16 or float64.

    Returns:
        Maps of half the height and width. On a CPU without padding rows; on a GPU and in compiled
        graphs with min(N, F * (height // 2) * (width // 2)) rows.

    Raises:
        ValueError: The maps are smaller than a window.
    """
    features, sites, offsets, _ = _forward(*_arguments(x))
    return SparseFeatureMaps._trusted(features, sites, offsets, x.height // 2, x.width // 2)
