"""How the Triton kernels multiply."""

from __future__ import annotations

import torch

__all__ = ["precision"]


def precision(dtype: torch.dtype) -> str:
    """Return how `tl.dot` multiplies: TF32 only where torch's own float32 products may use it.

    `fp32_precision` also reflects `allow_tf32` and `set_float32_matmul_precision`.
    """
    if dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32":
        return "ieee"
    return "tf32"  # without effect on other dtypes
