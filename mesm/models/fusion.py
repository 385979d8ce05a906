"""Late fusion: one set of logits out of those of each modality."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightedSum(nn.Module):
    """Sum of the modalities' logits with learned weights, at first all 1/M.

    Args:
        modalities: how many sets of logits there are, M.
        dropout: chance that a clip's logits of one modality are left out in training, so that no
            modality can rely on another that learns faster.
    """

    def __init__(self, modalities: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.full((modalities,), 1.0 / modalities))

    def forward(self, logits: Tensor) -> Tensor:
        """(M, B, E) to (B, E)."""
        if self.training:
            logits = logits * self.dropout(logits.new_ones(*logits.shape[:2], 1))
        return torch.einsum("mbe,m->be", logits, self.weight.to(logits.dtype))
