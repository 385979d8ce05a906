"""Late fusion: one set of logits out of those of each modality."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightedSum(nn.Module):
    """Sum of the modalities' logits with learned weights, at first all 1/M.

    Args:
        modalities: how many sets of logits there are, M.
    """

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((modalities,), 1.0 / modalities))

    def forward(self, logits: Tensor) -> Tensor:
        """(M, B, E) to (B, E)."""
        return torch.einsum("mbe,m->be", logits, self.weight.to(logits.dtype))
