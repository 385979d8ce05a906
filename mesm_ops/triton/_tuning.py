"""How the Triton kernels multiply and how their tiles are chosen."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from ..extension import triton_interprets

__all__ = ["capability_of", "magnitude_of", "precision", "prologue_first", "tuned"]


def precision(dtype: torch.dtype) -> str:
    """Return how `tl.dot` multiplies: TF32 only where torch's own float32 products may use it.

    `fp32_precision` also says what `allow_tf32` and `set_float32_matmul_precision` were set to.
    """
    if dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32":
        return "ieee"
    return "tf32"  # other dtypes have one way only


def prologue_first(
    features: Tensor, scale: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Apply a norm and ReLU to features where the kernels cannot; return them, and what is left.

    Exact float32 products are made from registers, where no room is left for it.
    """
    if scale is None or shift is None or precision(features.dtype) != "ieee":
        return features, scale
    return torch.relu(torch.addcmul(shift, features, scale)), None


def capability_of(device: torch.device) -> int:
    """Return the major number of a GPU's compute capability; interpreted, that of a new GPU."""
    return 9 if triton_interprets() else torch.cuda.get_device_capability(device)[0]


def magnitude_of(rows: int) -> int:
    """Return a number that grows by one with each four times as many rows.

    A choice made with the few rows of a first try is not that for many.
    """
    return rows.bit_length() // 2


def tuned(
    kernel: Any, configs: list[triton.Config], key: list[str], prune: Any = None
) -> triton.runtime.Autotuner:
    """Let a kernel's configuration be chosen by time, once for each key and the tensors' dtypes.

    Timing waits for the device, so run each shape once before a CUDA graph is captured. Triton
    keeps the choice beside its compiled kernels, so a later process does not time again.
    The interpreter gets the first configuration: its times mean nothing.
    """
    if triton_interprets():
        configs = configs[:1]
    prunes = {"early_config_prune": prune} if prune is not None else None
    return triton.autotune(configs, key, prune_configs_by=prunes, cache_results=True)(kernel)
