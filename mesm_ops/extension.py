"""Loads the compiled kernels, or says why the kernels cannot be loaded."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import torch

__all__ = [
    "BUILD_HINT",
    "cpu_missing",
    "cuda_missing",
    "module",
    "triton_interprets",
    "triton_missing",
]

_OLDEST_GPU = 8  # compute capability: bfloat16 tensor cores
BUILD_HINT = "build it with `pip install -e .` or `make setup` in the source folder"


@functools.cache
def _load() -> tuple[ModuleType | None, str | None]:
    try:
        compiled = importlib.import_module("mesm_ops._C")
    except ModuleNotFoundError as error:
        if error.name != "mesm_ops._C":
            raise
        return None, f"the compiled extension mesm_ops._C is missing: {BUILD_HINT}"
    except ImportError as error:
        return None, f"the compiled extension mesm_ops._C does not load ({error}): {BUILD_HINT}"
    compiled.cpu_capability()  # raises what is wrong with MESM_OPS_CPU
    return compiled, None


def module() -> ModuleType | None:
    """Return `mesm_ops._C`, which holds the build facts; None where the extension is missing.

    Importing it loads libmesm_ops, which registers the ops.

    Raises:
        ValueError: MESM_OPS_CPU names no instruction set, or one that cannot run here.
    """
    return _load()[0]


def cpu_missing() -> str | None:
    """Return why the C++ CPU kernels are missing; None if the kernels are loaded."""
    return _load()[1]


@functools.cache
def cuda_missing() -> str | None:
    """Return why the CUDA kernels are missing; None if loaded. The first call loads the kernels."""
    libraries = sorted(Path(__file__).parent.glob("_cuda*.so"))
    if not libraries:
        return "no CUDA kernels were built"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    for library in libraries:
        try:
            torch.ops.load_library(library)
        except OSError as error:
            return f"the CUDA kernels do not load ({error})"
    return None


def triton_interprets() -> bool:
    """Return whether Triton runs its kernels in its interpreter, on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@functools.cache
def triton_missing() -> str | None:
    """Return why Triton kernels cannot run here; None if Triton can run."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed: pip install triton"
    if triton_interprets():
        return None
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    major, minor = torch.cuda.get_device_capability()
    if major < _OLDEST_GPU:
        return f"the GPU is too old: compute capability {major}.{minor}, 8.0 or later is needed"
    return None
