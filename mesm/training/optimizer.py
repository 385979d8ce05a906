"""Adam with own rates for the text encoder and the attention; the learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from mesm.models.text import TextEncoder
from mesm_ops import CrossModalAttention

if TYPE_CHECKING:
    from mesm.config.experiment import TrainingSettings

# A loss counts as lower by more than this share, as in torch's ReduceLROnPlateau.
LOWER_BY = 1e-4


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam over the text encoder, the cross-modal attention and all else that is not frozen."""
    text = _parameters_of(model, TextEncoder)
    attention = _parameters_of(model, CrossModalAttention)
    rest = set(model.parameters()) - text - attention
    parts = (
        (text, settings.text_learning_rate_factor),
        (attention, settings.attention_learning_rate_factor),
        (rest, 1.0),
    )
    groups = [
        {
            # In the model's order, so that every process and every start agrees.
            "params": [p for p in model.parameters() if p in part and p.requires_grad],
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


def _parameters_of(model: nn.Module, kind: type[nn.Module]) -> set[nn.Parameter]:
    modules = (module for module in model.modules() if isinstance(module, kind))
    return {parameter for module in modules for parameter in module.parameters()}


def plateaus(losses: Sequence[float], patience: int) -> int:
    """How often a loss per epoch stood still for more than `patience` epochs.

    Counted as torch's ReduceLROnPlateau does; a function of the history alone, so that a resumed
    training needs no state of its own.
    """
    best, waited, found = math.inf, 0, 0
    for loss in losses:
        waited += 1
        if loss < best * (1 - LOWER_BY):
            best, waited = loss, 0
        if waited > patience:
            waited, found = 0, found + 1
    return found


def set_learning_rate(
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
    step: int,
    steps: int,
    losses: Sequence[float] = (),
) -> float:
    """Set the rates for one step; the arguments alone decide them, so nothing need be stored.

    Args:
        optimizer: from `make_optimizer`.
        settings: schedule and warm-up.
        step: number of the step, from 0.
        steps: of the whole training.
        losses: on the validation split after each finished epoch, for the plateau schedule.

    Returns:
        The factor on the base rates.
    """
    factor = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    if settings.schedule == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))
    if settings.schedule == "plateau":
        factor *= settings.plateau_factor ** plateaus(losses, settings.plateau_patience)
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * factor
    return factor
