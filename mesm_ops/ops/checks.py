"""Checks of the arguments of public functions; messages say what was wanted and what came.

A wanted shape is a tuple of numbers and names: `("Cout", 64, 3, 3)` fits any first dimension.
Messages are put together only when something is wrong, so the checks trace under torch.compile.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from ..reference import Selection
from ..sparse_feature_maps import SparseFeatureMaps

__all__ = [
    "check_dtype",
    "check_maps",
    "check_p",
    "check_selection",
    "check_tensor",
    "trims",
    "values_are_known",
]

_TENSORS = (Tensor, Parameter)
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_SELECTIONS = {"weighted": Selection.WEIGHTED, "hard": Selection.HARD}


def check_maps(op: str, x: SparseFeatureMaps) -> None:
    """Refuse objects other than SparseFeatureMaps, and features of a dtype that no op takes.

    Args:
        op: The public function's name, with which the message begins.
        x: Any object.

    Raises:
        ValueError: x is no SparseFeatureMaps, or the features' dtype is none of float16, bfloat16,
            float32 and float64.
    """
    if not isinstance(x, SparseFeatureMaps):
        raise ValueError(f"{op}: x must be SparseFeatureMaps, got {type(x).__name__}")
    if x.features.dtype not in _DTYPES:
        wanted = ", ".join(str(dtype) for dtype in _DTYPES)
        raise ValueError(f"{op}: features must be one of {wanted}, got {x.features.dtype}")


def check_tensor(
    op: str,
    name: str,
    tensor: Tensor,
    shape: tuple[int | str, ...],
    device: torch.device,
    because: str = "",
) -> None:
    """Refuse a tensor of another shape or on another device.

    Args:
        op: The public function's name, with which the message begins.
        name: The argument's name.
        tensor: The argument.
        shape: The wanted shape.
        device: The wanted device.
        because: Ends the message, and may quote wanted dimensions, as "for {1} input channels".

    Raises:
        ValueError: The argument is no tensor, or the shape or the device is another one.
    """
    if type(tensor) in _TENSORS and tensor.shape == shape and tensor.device == device:
        return  # the usual case, by fast comparisons
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{op}: {name} must be a tensor, got {type(tensor).__name__}")
    if not _fits(tensor.shape, shape):
        wanted = ", ".join(str(want) for want in shape) + ("," if len(shape) == 1 else "")
        reason = f" {because.format(*shape)}" if because else ""
        raise ValueError(f"{op}: {name} must be ({wanted}){reason}, got {tuple(tensor.shape)}")
    if tensor.device != device:
        raise ValueError(f"{op}: {name} must be on {device} as x, got {tensor.device}")


def _fits(got: torch.Size, wanted: tuple[int | str, ...]) -> bool:
    if len(got) != len(wanted):
        return False
    for size, want in zip(got, wanted, strict=True):
        if size != want and not isinstance(want, str):
            return False
    return True


def check_dtype(
    op: str, name: str, tensor: Tensor, x: SparseFeatureMaps, *, autocast: bool = False
) -> None:
    """Refuse a tensor of another dtype than x's features, after autocast if `autocast`.

    Args:
        op: The public function's name, with which the message begins.
        name: The argument's name.
        tensor: The argument.
        x: The maps whose dtype is wanted.
        autocast: Compare the dtypes that autocast leaves.

    Raises:
        ValueError: The dtype is another one.
    """
    wanted, got = x.features.dtype, tensor.dtype
    if wanted == got:  # autocast keeps equal dtypes equal
        return
    device = x.device.type
    if autocast and device != "meta" and torch.is_autocast_enabled(device):
        wanted, got = (_autocast_dtype(dtype, device) for dtype in (wanted, got))
    if wanted != got:
        raise ValueError(f"{op}: {name} must be {wanted} as x's features, got {got}")


def _autocast_dtype(dtype: torch.dtype, device: str) -> torch.dtype:
    casts = dtype.is_floating_point and dtype != torch.float64
    return torch.get_autocast_dtype(device) if casts else dtype


def check_p(op: str, p: float) -> None:
    """Refuse a share of the attention outside (0, 1].

    Raises:
        ValueError: p is not in (0, 1].
    """
    if not 0 < p <= 1:
        raise ValueError(f"{op}: p must be in (0, 1], got {p}")


def check_selection(op: str, selection: str) -> Selection:
    """Return the `Selection` that a public function's argument names.

    Raises:
        ValueError: The name is neither "weighted" nor "hard".
    """
    if selection not in _SELECTIONS:
        wanted = " or ".join(map(repr, _SELECTIONS))
        raise ValueError(f"{op}: selection must be {wanted}, got {selection!r}")
    return _SELECTIONS[selection]


def trims(tensor: Tensor) -> bool:
    """Return whether an op's output has no padding, so that its size depends on values."""
    return tensor.is_cpu and not torch.compiler.is_compiling()


def values_are_known(tensor: Tensor) -> bool:
    """Return whether a tensor holds values: fake and meta tensors do not."""
    return type(tensor) is Tensor and tensor.device.type != "meta"
