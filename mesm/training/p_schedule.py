"""p over the epochs of a training: from a start value to that of the settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mesm.config.p import BlockP, change_p

if TYPE_CHECKING:
    from mesm.config.experiment import TrainingSettings


def p_of_epoch(p: BlockP, settings: TrainingSettings, epoch: int | None) -> BlockP:
    """The p of one epoch, per block as in `p`.

    p + (p_start - p) * left, where `left` is 1 for p_hold_epochs and then goes from 1 to 0 over
    p_warmup_epochs: evenly, or as half a cosine, which stays longer at both ends.

    Args:
        p: what is reached in the end.
        settings: p_hold_epochs, p_warmup_epochs, p_start and p_shape.
        epoch: from 1; None: after the training.
    """
    left = 0.0
    if epoch is not None:
        fallen = epoch - 1 - settings.p_hold_epochs
        if fallen < 0:
            left = 1.0
        elif settings.p_warmup_epochs > 0:
            left = max(0.0, 1 - fallen / settings.p_warmup_epochs)
    if settings.p_shape == "cosine":
        left = 0.5 * (1 - math.cos(math.pi * left))
    return change_p(p, lambda number: number + (settings.p_start - number) * left)


def p_of_step(
    p: BlockP, settings: TrainingSettings, epoch: int, random: np.random.Generator
) -> BlockP:
    """The p of one step: the epoch's, or in a share p_drawn of the steps one drawn above it."""
    ours = p_of_epoch(p, settings, epoch)
    if epoch <= settings.p_hold_epochs or random.random() >= settings.p_drawn:
        return ours
    share = float(random.random())
    lowest = 1.0 if settings.p_lowest is None else settings.p_lowest

    def draw(number: float) -> float:
        low = min(number, lowest)
        return low + (settings.p_start - low) * share

    return change_p(ours, draw)
