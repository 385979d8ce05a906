"""Which kernel computes a product, and with which tiles: the choice that was fastest on a GPU.

`mesm_ops/triton/configs/<gpu>.json` holds the measured choices; a file in the user's cache folder,
which `python -m mesm_ops.tune` writes, comes before. A GPU without either takes the plain kernels.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor

from ...extension import triton_interprets
from .sizes import next_power_of_2

__all__ = ["Choice", "choose", "config_paths", "descriptor", "gpu_name", "possible"]

_HOPPER_TRITON = (3, 6)  # the version of Triton whose Gluon the Hopper kernels are written for
_HOPPER = (9, 0)
_HOPPER_DEPTH = 64  # channels, or rows, of a step


@dataclass(frozen=True)
class Choice:
    """A kernel and its tiles."""

    hopper: bool  # the Gluon kernel for Hopper GPUs, not the plain Triton one
    block_m: int  # output channels of a tile, for weight gradients alone
    block_n: int  # channels of a tile
    block_k: int  # channels, or rows, of a step
    stages: int
    warps: int
    registers: int | None = None

    def options(self) -> dict[str, Any]:
        """Return the options of a Triton launch beside the kernel's arguments."""
        options: dict[str, Any] = {"num_warps": self.warps}
        if not self.hopper:
            options["num_stages"] = self.stages
        if self.registers is not None:
            options["maxnreg"] = self.registers
        return options


def knows_hopper() -> bool:
    """Whether the installed Triton is the one whose Gluon the Hopper kernels are written in."""
    return tuple(int(part) for part in triton.__version__.split(".")[:2]) == _HOPPER_TRITON


def possible(
    kernel: str,
    dtype: torch.dtype,
    cin: int,
    cout: int,
    capability: tuple[int, int],
    *,
    plain: bool = False,
) -> list[Choice]:
    """Return the choices for a product on a GPU of a compute capability, the fallback first.

    Args:
        kernel: "convolution" or "weight_gradient".
        dtype: The features' dtype.
        cin: Input channels.
        cout: Output channels.
        capability: Major and minor number.
        plain: Leave out the Hopper kernels, which lack some options of the plain kernels.
    """
    gradient = kernel == "weight_gradient"
    half = dtype != torch.float32
    wide = 128 if half and cout > 64 else 64
    deep = min(64, max(16, next_power_of_2(cin))) if half else 16
    if gradient:
        across = min(wide, max(16, next_power_of_2(cin)))
        choices = [Choice(False, wide, across, 64 if half else 32, 3, 8)]
    elif half and wide == 128 and capability[0] == 9:
        choices = [Choice(False, 0, wide, deep, 4, 4)]
    else:
        choices = [Choice(False, 0, wide, deep, 3, 8 if wide == 128 or not half else 4)]
    if plain or not half or capability != _HOPPER or not knows_hopper():
        return choices
    if cin % _HOPPER_DEPTH or cout % (128 if gradient else 64):
        return choices
    narrow = cin if gradient else cout
    n = 128 if narrow % 128 == 0 else 64
    choices.append(Choice(True, 128, n, _HOPPER_DEPTH, 3 if n == 128 else 4, 4, 128))
    return choices


def choose(
    kernel: str,
    features: Tensor,
    cin: int,
    cout: int,
    transposed: bool = False,
    *,
    plain: bool = False,
) -> Choice:
    """Return the choice that was measured to win, or the plain kernel where none was measured.

    Args:
        kernel: "convolution" or "weight_gradient".
        features: The rows, whose dtype and device decide.
        cin: Input channels.
        cout: Output channels.
        transposed: Whether the convolution is that of the input gradient.
        plain: Leave out the Hopper kernels, which lack some options of the plain kernels.
    """
    return _choose(kernel, features.device, features.dtype, cin, cout, transposed, plain)


@functools.lru_cache(maxsize=1024)
def _choose(
    kernel: str,
    device: torch.device,
    dtype: torch.dtype,
    cin: int,
    cout: int,
    transposed: bool,
    plain: bool,
) -> Choice:
    if triton_interprets() or device.type != "cuda":
        return possible(kernel, dtype, cin, cout, _HOPPER, plain=True)[0]
    capability = torch.cuda.get_device_capability(device)
    choices = possible(kernel, dtype, cin, cout, capability, plain=plain)
    rows = _table(gpu_name(device)).get(kernel, [])
    like = [
        row for row in rows if (row["itemsize"], row["transposed"]) == (dtype.itemsize, transposed)
    ]
    if not like:
        return choices[0]
    nearest = min(like, key=lambda row: _distance(row, cin, cout))
    wanted = [choice for choice in choices if choice.hopper == nearest["hopper"]]
    return wanted[0] if wanted else choices[0]


def _distance(row: dict[str, Any], cin: int, cout: int) -> float:
    return abs(math.log2(row["cin"] / cin)) + abs(math.log2(row["cout"] / cout))


def gpu_name(device: torch.device) -> str:
    """Return the name of a GPU in the name of its table's file."""
    return _as_in_files(torch.cuda.get_device_name(device))


def _as_in_files(gpu: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")


def config_paths(gpu: str) -> tuple[Path, Path]:
    """Return the files of a GPU's choices: the user's own, and this package's.

    Raises:
        RuntimeError: XDG_CACHE_HOME is not set and the user has no home.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mesm_ops" / f"{gpu}.json", _shipped_path(gpu)


def _shipped_path(gpu: str) -> Path:
    return Path(__file__).parent.parent / "configs" / f"{gpu}.json"


@functools.cache
def _table(gpu: str) -> dict[str, Any]:
    """Return a GPU's choices, if measured with this version of Triton; else nothing.

    A file that cannot be read or says something else is passed over with a warning: a training
    must not end for a choice of kernels.
    """
    version = ".".join(triton.__version__.split(".")[:2])
    paths: tuple[Path, ...]
    try:
        paths = config_paths(gpu)
    except RuntimeError:  # without a home there is no file of the user's
        paths = (_shipped_path(gpu),)
    for path in paths:
        try:
            table = _read(path, gpu)
        except (OSError, ValueError) as error:
            warnings.warn(
                f"mesm_ops passes over {path}: {error}. Delete it or run python -m mesm_ops.tune.",
                stacklevel=2,
            )
            continue
        if table.get("triton") == version:
            return table
    return {}


_ROW = {"itemsize": int, "transposed": bool, "cin": int, "cout": int, "hopper": bool}


def _read(path: Path, gpu: str) -> dict[str, Any]:
    """Return a file's table; empty: there is no such file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no table of this GPU; says why.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(table, dict):
        raise ValueError(f"a table is a JSON object, got {type(table).__name__}")
    if _as_in_files(str(table.get("gpu", gpu))) != gpu:
        raise ValueError(f"it was measured on another GPU, {table['gpu']}")
    for kernel in ("convolution", "weight_gradient"):
        rows = table.get(kernel, [])
        if not isinstance(rows, list):
            raise ValueError(f"{kernel} must be a list of rows, got {type(rows).__name__}")
        for row in rows:
            fits = isinstance(row, dict) and all(
                type(row.get(name)) is kind for name, kind in _ROW.items()
            )
            if not fits or min(row["cin"], row["cout"]) < 1:
                wanted = ", ".join(f"{name} ({kind.__name__})" for name, kind in _ROW.items())
                raise ValueError(f"a row of {kernel} has {wanted}, channels at least 1; got {row}")
    return table


_descriptors: dict[tuple[Any, ...], dict[str, Any]] = {}


def descriptor(tensor: Tensor, block: tuple[int, int]) -> Any:
    """Return a tensor's TMA descriptor; Triton checks the first of each kind alone.

    Args:
        tensor: Two-dimensional and contiguous, of 16 bits.
        block: Rows and columns of a tile.
    """
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    key = (tensor.shape, tensor.dtype, block)
    fields = _descriptors.get(key)
    if fields is None or tensor.data_ptr() % 16:
        made = TensorDescriptor(
            *(tensor, list(tensor.shape), list(tensor.stride()), list(block)),
            _layout(block, tensor.dtype),
        )
        if len(_descriptors) >= 4096:  # sizes change from batch to batch
            _descriptors.clear()
        _descriptors[key] = {**vars(made), "base": None}
        return made
    made = object.__new__(TensorDescriptor)
    made.__dict__.update(fields)
    made.base = tensor
    return made


@functools.cache
def _layout(block: tuple[int, int], dtype: torch.dtype) -> Any:
    from triton.experimental.gluon import language as gl

    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[dtype]
    return gl.NVMMASharedLayout.get_default_for(list(block), element)
