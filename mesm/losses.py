"""The training loss: binary cross-entropy per emotion, rarer emotions weighing more."""

from __future__ import annotations

import torch
from torch import Tensor


def positive_weights(labels: Tensor) -> Tensor:
    """Negatives / positives per emotion; 1 where the clips have only one of the two.

    Args:
        labels: (N, E) of 0 and 1, the training split's.

    Returns:
        (E,) float32, for `torch.nn.BCEWithLogitsLoss(pos_weight=...)`.
    """
    positives = labels.sum(dim=0)
    negatives = labels.shape[0] - positives
    usable = (positives > 0) & (negatives > 0)
    weights = negatives / positives.clamp(min=1)
    return torch.where(usable, weights, torch.ones_like(weights)).float()
