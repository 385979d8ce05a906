"""Checks of the tensors of sparse feature maps; messages say what was wanted and what came."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from . import extension
from .eager import is_transformed

__all__ = [
    "DTYPES",
    "MOST_ROWS",
    "check_dtype",
    "check_offsets",
    "check_size",
    "check_tensor",
    "check_values",
    "values_can_be_read",
]

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MOST_ROWS = 2**31 - 1  # sites and offsets are int32
_NAME = "SparseFeatureMaps"


def check_tensor(name: str, value: Any) -> None:
    """Refuse what is no dense tensor.

    Raises:
        ValueError: The value is another object, or sparse.
    """
    if not isinstance(value, Tensor):
        raise ValueError(f"{_NAME}: {name} must be a tensor, got {type(value).__name__}")
    if value.layout is not torch.strided:
        raise ValueError(f"{_NAME}: {name} must be a dense tensor, got one of {value.layout}")


def check_dtype(name: str, tensor: Tensor) -> None:
    """Refuse features of a dtype that no op takes.

    Raises:
        ValueError: The dtype is none of `DTYPES`.
    """
    if tensor.dtype not in DTYPES:
        wanted = ", ".join(map(str, DTYPES))
        raise ValueError(f"{_NAME}: {name} must be one of {wanted}, got {tensor.dtype}")


def check_size(height: int, width: int) -> None:
    """Refuse maps without sites, or with more than int32 counts.

    Raises:
        ValueError: Height or width is below 1, or their product too large.
    """
    if height < 1 or width < 1:
        raise ValueError(f"{_NAME}: height and width must be at least 1, got {height} x {width}")
    if not torch.compiler.is_compiling() and height * width > MOST_ROWS:
        raise ValueError(
            f"{_NAME}: height * width must be at most {MOST_ROWS}, got {height} x {width}"
        )


def values_can_be_read(tensor: Tensor) -> bool:
    """Return whether reading neither waits for a device nor meets a traced tensor."""
    return (
        not torch.compiler.is_compiling()
        and type(tensor) is Tensor
        and tensor.is_cpu
        and not is_transformed()
    )


def check_values(op: str, sites: Tensor, offsets: Tensor, height: int, width: int) -> None:
    """Refuse sites or offsets that no maps have; waits for the tensors' device.

    Args:
        op: The name with which the message begins.
        sites: (N,) int32.
        offsets: (F + 1,) int32.
        height: Height of the maps.
        width: Width of the maps.

    Raises:
        ValueError: Offsets do not rise from 0 to at most N, or sites do not ascend inside a frame
            or lie outside the maps.
    """
    rows = sites.shape[0]
    compiled = extension.module()
    if (
        compiled is not None
        and sites.dtype is offsets.dtype is torch.int32
        and sites.is_cpu
        and sites.is_contiguous()
        and offsets.is_contiguous()
        and compiled.are_sites(
            sites.data_ptr(), offsets.data_ptr(), rows, offsets.shape[0] - 1, height * width
        )
    ):
        return  # torch's own calls take some ten times as long
    check_offsets(op, offsets, rows)
    total = int(offsets[-1])
    if not total:
        return
    real = sites[:total]
    size = height * width
    least, most = map(int, real.aminmax())
    if least < 0 or most >= size:
        raise ValueError(
            f"{op}: sites must lie in [0, {size}) for {height} x {width} maps, got "
            f"{least} to {most}"
        )
    rises = real.diff() > 0
    starts = offsets[1:-1]
    starts = starts[(starts > 0) & (starts < total)].long()
    rises[starts - 1] = True  # from frame to frame sites may fall
    if not bool(rises.all()):
        wrong = int((~rises).nonzero()[0]) + 1
        frame = int(torch.bucketize(wrong, offsets[1:], right=True))
        raise ValueError(
            f"{op}: sites must ascend inside a frame, got site {int(real[wrong])} after "
            f"{int(real[wrong - 1])} in frame {frame}"
        )


def check_offsets(op: str, offsets: Tensor, rows: int) -> None:
    """Refuse offsets that no maps have; waits for the tensor's device.

    Args:
        op: The name with which the message begins.
        offsets: (F + 1,) int32.
        rows: The maps' rows N.

    Raises:
        ValueError: Offsets do not rise from 0 to at most N.
    """
    ends = offsets.tolist()
    if ends[0] != 0 or ends[-1] > rows or any(a > b for a, b in pairwise(ends)):
        raise ValueError(f"{op}: offsets must rise from 0 to at most {rows} rows, got {ends}")
