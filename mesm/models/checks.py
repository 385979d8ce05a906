"""Refusals of what no model can be made of or read."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def check_sizes(owner: str, **sizes: Any) -> None:
    """Refuse, with a ValueError, sizes that are no positive whole numbers."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{owner}: {name} must be a positive whole number, got {size!r}")


def check_shares(owner: str, **shares: Any) -> None:
    """Refuse, with a ValueError, shares, e.g. of dropout, that are not in [0, 1]."""
    for name, share in shares.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not math.isfinite(share) or not 0 <= share <= 1:
            raise ValueError(f"{owner}: {name} must be in [0, 1], got {share!r}")


def check_batch(model: nn.Module, batch: Any, kind: type[Any], *names: str) -> None:
    """Refuse, with a ValueError, another kind of batch than the model's, or other dtypes.

    Args:
        model: reads the batch.
        batch: what it was given.
        kind: what it reads.
        names: the floating tensors of the batch that meet weights first.
    """
    if not isinstance(batch, kind):
        raise ValueError(
            f"{type(model).__name__}: reads a {kind.__name__}, got {type(batch).__name__}"
        )
    wanted = next(model.parameters()).dtype
    for name in names:
        tensor: Tensor = getattr(batch, name)
        if tensor.dtype != wanted and not torch.is_autocast_enabled(tensor.device.type):
            raise ValueError(
                f"{type(model).__name__}: {name} must be {wanted} as its weights are, got "
                f"{tensor.dtype}; convert the batch or the model"
            )
