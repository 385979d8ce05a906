"""p over a training: from a start value to that of the settings, or drawn anew in a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from mesm.config.p import BlockP, change_p

if TYPE_CHECKING:
    from mesm.config.experiment import TrainingSettings
    from mesm.models import MESM
    from mesm.models.build import Model


class PSchedule:
    """Sets a model's p before every epoch and step; does nothing to a model without one.

    Args:
        model: the model itself, not a wrapper around it.
        p: of the model's settings; None: it has none.
        settings: of its training.
    """

    def __init__(self, model: Model, p: BlockP | None, settings: TrainingSettings) -> None:
        self._model, self._p, self._settings = model, p, settings
        self._epoch = 0

    @property
    def draws(self) -> bool:
        """Whether steps of one epoch may have several p."""
        return self._p is not None and self._settings.p_drawn > 0

    def begin(self, epoch: int) -> None:
        """The p of an epoch, from 1 on; what its steps draw depends on the seed and the epoch."""
        self._epoch = epoch
        self._random = np.random.default_rng((self._settings.seed, epoch))
        if self._p is not None:
            self._set(p_of_epoch(self._p, self._settings, epoch))

    def step(self) -> None:
        """The p of the epoch's next step."""
        if self._p is not None and self.draws:
            self._set(p_of_step(self._p, self._settings, self._epoch, self._random))

    def end(self) -> None:
        """The p of the settings, with which the model is validated and used."""
        if self._p is not None:
            self._set(self._p)

    def _set(self, p: BlockP) -> None:
        cast("MESM", self._model).set_p(p)


def p_of_epoch(p: BlockP, settings: TrainingSettings, epoch: int | None) -> BlockP:
    """The p of one epoch, per block as in `p`.

    p + (p_start - p) * left, where `left` is 1 for p_hold_epochs and then goes from 1 to 0 over
    p_warmup_epochs (below 1, either is a share of all epochs): evenly, or as half a cosine, which
    stays longer at both ends.

    Args:
        p: what is reached in the end.
        settings: p_hold_epochs, p_warmup_epochs, p_start and p_shape.
        epoch: from 1; None: after the training.
    """
    left = 0.0
    if epoch is not None:
        fallen = epoch - 1 - _count(settings.p_hold_epochs, settings.epochs)
        if fallen < 0:
            left = 1.0
        elif settings.p_warmup_epochs > 0:
            left = max(0.0, 1 - fallen / _count(settings.p_warmup_epochs, settings.epochs))
    if settings.p_shape == "cosine":
        left = 0.5 * (1 - math.cos(math.pi * left))
    return change_p(p, lambda number: number + (settings.p_start - number) * left)


def _count(epochs: float, all_epochs: int) -> float:
    return epochs if epochs >= 1 else epochs * all_epochs


def p_of_step(
    p: BlockP, settings: TrainingSettings, epoch: int, random: np.random.Generator
) -> BlockP:
    """The p of one step: the epoch's, or in a share p_drawn of the steps one drawn above it."""
    ours = p_of_epoch(p, settings, epoch)
    if (
        epoch <= _count(settings.p_hold_epochs, settings.epochs)
        or random.random() >= settings.p_drawn
    ):
        return ours
    share = float(random.random())
    return change_p(ours, lambda number: number + (settings.p_start - number) * share)
