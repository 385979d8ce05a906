"""Whether tensors hold infinite or NaN values."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with an infinite or NaN value; None: all are finite.

    Waits for the device.
    """
    # The sum is finite only if all values are; where it is not, they may still be.
    sums = {name: value.sum() for name, value in tensors.items() if value.is_floating_point()}
    if not sums or bool(torch.stack([value.double() for value in sums.values()]).isfinite().all()):
        return None
    return next((name for name in sums if not bool(tensors[name].isfinite().all())), None)
