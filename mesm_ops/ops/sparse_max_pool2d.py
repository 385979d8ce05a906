"""sparse_max_pool2d: 2 x 2 max-pooling over active sites."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import reference
from ..reference import SparseMaxPool2d, SparseMaxPool2dBackward, SparseMaxPool2dResult
from ..sparse_feature_maps import SparseFeatureMaps
from .autograd import LATER, make_differentiable
from .checks import check_maps, trims
from .registration import define_op

__all__ = ["check_size", "sparse_max_pool2d"]

_NAME = "sparse_max_pool2d"


def _arguments(x: SparseFeatureMaps) -> SparseMaxPool2d:
    check_maps(_NAME, x)
    check_size(x)
    return SparseMaxPool2d(x.features, x.sites, x.offsets, x.height, x.width, trims(x.features))


def check_size(x: SparseFeatureMaps) -> None:
    """Refuse maps that are smaller than a window.

    Raises:
        ValueError: Height or width is below 2.
    """
    if x.height < 2 or x.width < 2:
        raise ValueError(f"{_NAME}: maps must be at least 2 x 2, got {x.height} x {x.width}")


def _fake(a: SparseMaxPool2d) -> SparseMaxPool2dResult:
    if a.trim:
        rows = torch.library.get_ctx().new_dynamic_size()
    else:
        windows = (a.offsets.shape[0] - 1) * (a.height // 2) * (a.width // 2)
        rows = torch.sym_min(a.features.shape[0], windows)
    return SparseMaxPool2dResult(
        features=a.features.new_empty(rows, a.features.shape[1]),
        sites=a.sites.new_empty(rows),
        offsets=a.offsets.new_empty(a.offsets.shape),
        argmax=a.sites.new_empty(rows, a.features.shape[1]),
    )


def _fake_backward(a: SparseMaxPool2dBackward) -> Tensor:
    return a.grad_out.new_empty(a.rows, a.grad_out.shape[1])


def _saved(a: SparseMaxPool2d, out: SparseMaxPool2dResult) -> SparseMaxPool2dBackward:
    return SparseMaxPool2dBackward(grad_out=LATER, argmax=out.argmax, rows=a.features.shape[0])


_forward = define_op(reference.sparse_max_pool2d, fake=_fake, arguments=_arguments, cuda=True)
_backward = define_op(reference.sparse_max_pool2d_backward, fake=_fake_backward, cuda=True)
make_differentiable(_forward, _backward, saved=_saved)


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
    out = _forward(_arguments(x))
    size = (x.height // 2, x.width // 2)
    return SparseFeatureMaps._trusted(out.features, out.sites, out.offsets, *size)
