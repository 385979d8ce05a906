"""Adam with own rates for the text encoder and the attention; the learning rate over the steps."""

from __future__ import annotations

import math

import torch

from mesm.config import TrainingSettings
from mesm.models.late_fusion import LateFusionModel
from mesm_ops import CrossModalAttention


def make_optimizer(model: LateFusionModel, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam over the text encoder, the cross-modal attention and everything else."""
    text = set(model.text.parameters()) if model.text is not None else set()
    attention = {
        parameter
        for extractor in model.feature_extractors.values()
        for module in extractor.modules()
        if isinstance(module, CrossModalAttention)
        for parameter in module.parameters()
    }
    rest = set(model.parameters()) - text - attention
    parts = (
        (text, settings.text_learning_rate_factor),
        (attention, settings.attention_learning_rate_factor),
        (rest, 1.0),
    )
    groups = [
        {
            # In the model's order, so that every process and every start agrees.
            "params": [parameter for parameter in model.parameters() if parameter in part],
            "base_rate": settings.learning_rate * factor,
        }
        for part, factor in parts
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
