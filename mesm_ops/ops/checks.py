"""Checks of the arguments of public functions; messages say what was wanted and what came.

A wanted shape is a tuple of numbers and names: `("Cout", 64, 3, 3)` fits any first dimension.
Messages are put together only when something is wrong, so the checks trace under torch.compile.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..eager import is_eager
from ..reference import Selection
from ..sparse_feature_maps import DTYPES, SparseFeatureMaps
from ..tensor_like import trims

__all__ = [
    "check_dtype",
    "check_flag",
    "check_maps",
    "check_number",
    "check_p",
    "check_selection",
    "check_size",
    "check_tensor",
    "check_untraced",
    "check_variance",
    "kind_of",
    "trims",
    "values_are_known",
]

_is_traced = torch._C._is_tracing
_STRIDED = torch.strided
_TENSORS = (Tensor, Parameter)
_properties = operator.attrgetter("shape", "dtype", "device", "layout")
_KINDS = {Tensor, Parameter}
_SELECTIONS = {
    "weighted": Selection.WEIGHTED,
    "hard": Selection.HARD,
    "straight_through": Selection.STRAIGHT_THROUGH,
}


def check_maps(op: str, x: SparseFeatureMaps) -> None:
    """Refuse objects other than SparseFeatureMaps, and features of a dtype that no op takes.

    Args:
        op: The public function's name, with which the message begins.
        x: Any object.

    Raises:
        ValueError: x is no SparseFeatureMaps, or the features' dtype is none of float16, bfloat16,
            float32 and float64.
        RuntimeError: `torch.jit.trace` or `torch.fx.symbolic_trace` calls.
    """
    if not isinstance(x, SparseFeatureMaps):
        check_untraced(op, x)
        raise ValueError(f"{op}: x must be SparseFeatureMaps, got {type(x).__name__}")
    if not torch.compiler.is_compiling() and _is_traced():
        raise RuntimeError(
            f"{op}: torch.jit.trace is not supported, use torch.compile or torch.export"
        )
    if x.features.dtype not in DTYPES:
        wanted = ", ".join(str(dtype) for dtype in DTYPES)
        raise ValueError(f"{op}: features must be one of {wanted}, got {x.features.dtype}")


def check_untraced(op: str, x: object) -> None:
    """Refuse what `torch.fx.symbolic_trace` puts in place of tensors.

    Raises:
        RuntimeError: x is a `torch.fx.Proxy`.
    """
    if isinstance(x, torch.fx.Proxy):
        raise RuntimeError(
            f"{op}: torch.fx.symbolic_trace is not supported; use torch.export, or make the layer "
            "a leaf of the tracer"
        )


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
        ValueError: The argument is no dense tensor, or the shape or the device is another one.
    """
    if (
        type(tensor) in _TENSORS
        and tensor.shape == shape
        and tensor.device == device
        and tensor.layout is _STRIDED
    ):
        return  # the usual case, by fast comparisons
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{op}: {name} must be a tensor, got {type(tensor).__name__}")
    if tensor.layout is not _STRIDED:
        raise ValueError(f"{op}: {name} must be a dense tensor, got one of {tensor.layout}")
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


def kind_of(tensors: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return all that the checks ask of tensors, autocast included; not what tensors hold.

    None: checks must be made anew, as they are traced, or something is no plain tensor of a CPU or
    GPU.
    """
    if not is_eager() or _is_traced() or not _KINDS.issuperset(map(type, tensors)):
        return None
    device = tensors[0].device.type
    if device not in ("cpu", "cuda"):
        return None
    casts = torch.is_autocast_enabled(device)
    return (casts and torch.get_autocast_dtype(device), *map(_properties, tensors))


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


def check_p(op: str, p: float) -> float:
    """Return a share of the attention; refuse one outside (0, 1].

    Raises:
        ValueError: p is no number in (0, 1].
    """
    if type(p) is float and 0 < p <= 1:
        return p  # the usual case
    if not _is_number(p) or not 0 < p <= 1:
        raise ValueError(f"{op}: p must be in (0, 1], got {_said(p)}")
    return float(p)


def check_number(
    op: str, name: str, number: float, most: float = math.inf, other: str = ""
) -> float:
    """Return a finite number that is at least 0; refuse any other object.

    Args:
        op: The public function's name, with which the message begins.
        name: The argument's name.
        number: The argument.
        most: The largest number that is taken.
        other: Names what else the caller takes, as " or None".

    Raises:
        ValueError: The argument is no number, not finite, negative, or above `most`.
    """
    if type(number) is float and 0 <= number <= most and number != math.inf:
        return number  # the usual case
    if not _is_number(number) or not 0 <= number <= most or number == math.inf:
        wanted = "finite and at least 0" if most == math.inf else f"a number from 0 to {most}"
        raise ValueError(f"{op}: {name} must be {wanted}{other}, got {_said(number)}")
    return float(number)


def _is_number(value: Any) -> bool:
    return isinstance(value, (numbers.Real, torch.SymFloat)) and not isinstance(value, bool)


def _said(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    text = str(value) if _is_number(value) else repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def check_flag(op: str, name: str, flag: bool) -> None:
    """Refuse anything but True and False.

    Raises:
        ValueError: The argument is no bool.
    """
    if flag is not True and flag is not False:
        raise ValueError(f"{op}: {name} must be True or False, got {_said(flag)}")


def check_variance(op: str, name: str, variance: Tensor) -> None:
    """Refuse negative variances; waits for the tensor's device. NaN passes, to reach the loss.

    Raises:
        ValueError: An entry is negative.
    """
    negative = (variance < 0).nonzero()
    if negative.numel():
        at = int(negative[0])
        raise ValueError(
            f"{op}: {name} must not be negative, got {float(variance[at])} in channel {at}"
        )


def check_size(op: str, name: str, size: int) -> None:
    """Refuse sizes of layers that are no positive integers.

    Raises:
        ValueError: The size is no integer, or less than 1.
    """
    if isinstance(size, bool) or not isinstance(size, (numbers.Integral, torch.SymInt)) or size < 1:
        raise ValueError(f"{op}: {name} must be an integer of at least 1, got {_said(size)}")


def check_selection(op: str, selection: str) -> Selection:
    """Return the `Selection` that a public function's argument names.

    Raises:
        ValueError: There is no such selection.
    """
    if not isinstance(selection, str) or selection not in _SELECTIONS:
        *others, last = map(repr, _SELECTIONS)
        wanted = f"{', '.join(others)} or {last}"
        raise ValueError(f"{op}: selection must be {wanted}, got {selection!r}")
    return _SELECTIONS[selection]


def values_are_known(tensor: Tensor) -> bool:
    """Return whether a tensor holds values: fake and meta tensors do not."""
    return type(tensor) is Tensor and tensor.device.type != "meta"
