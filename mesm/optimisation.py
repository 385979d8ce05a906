"""Adam with a slower text encoder, and the learning rate over the steps."""

from __future__ import annotations

import math

import torch

from mesm.config import TrainingSettings
from mesm.models.late_fusion import LateFusionModel


def make_optimizer(model: LateFusionModel, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam over two groups: the text encoder, and everything else."""
    text = set(model.text.parameters()) if model.text is not None else set()
    groups = [
        {
            "params": [parameter for parameter in model.parameters() if parameter in text],
            "base_rate": settings.learning_rate * settings.text_learning_rate_factor,
        },
        {
            "params": [parameter for parameter in model.parameters() if parameter not in text],
            "base_rate": settings.learning_rate,
        },
    ]
    # Without decay, AdamW is Adam.
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )


def set_learning_rate(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, step: int, steps: int
) -> float:
    """Set the rates for one step; they follow from its number alone, so nothing need be stored.

    Args:
        optimizer: from `make_optimizer`.
        settings: schedule and warm-up.
        step: number of the step, from 0.
        steps: of the whole training.

    Returns:
        The factor on the base rates.
    """
    factor = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    if settings.schedule == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * factor
    return factor
