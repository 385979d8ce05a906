"""The training loss: cross-entropy in which rarer emotions weigh more, and its options.

Binary, per emotion, where a clip may have several; over the emotions where it has exactly one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesm.models.late_fusion import TrainingOutputs
from mesm.training.share import WHOLE, Share

if TYPE_CHECKING:
    from mesm.config.experiment import LossName, TrainingSettings

# Between these shares of the training the weight of the concentration rises from 0 to its own: the
# attention first learns what matters, then to leave out the rest.
RISE = (1 / 3, 2 / 3)


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


def class_weights(labels: Tensor) -> Tensor:
    """N / (E n) per emotion, n of the N clips having it; 1 where none has.

    Over the clips the weights add up to N where every emotion occurs, and each emotion's clips
    together weigh as much as another's.

    Args:
        labels: (N, E) of 0 and 1, exactly one 1 per clip; the training split's.

    Returns:
        (E,) float32.
    """
    clips, emotions = labels.shape
    counts = labels.sum(dim=0)
    weights = clips / (emotions * counts.clamp(min=1))
    return torch.where(counts > 0, weights, torch.ones_like(weights)).float()


def _binary(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)


def _softmax(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    # Labels as probabilities: torch divides by the clips then, and by the batch's weights else.
    return F.cross_entropy(logits, labels, weight)


class Criterion(NamedTuple):
    """A cross-entropy, the probabilities that it is of, and how it weighs emotions.

    Attributes:
        cross_entropy: (logits (B, E), labels or probabilities (B, E), weights (E,) or None) to a
            scalar, the mean over the clips (binary: and over the emotions).
        probabilities: (B, E) logits to (B, E).
        weights: of the emotions, from the training split's labels (N, E) to (E,).
    """

    cross_entropy: Callable[..., Tensor]
    probabilities: Callable[[Tensor], Tensor]
    weights: Callable[[Tensor], Tensor]


CRITERIA: dict[LossName, Criterion] = {
    "binary": Criterion(_binary, torch.sigmoid, positive_weights),
    "cross_entropy": Criterion(
        _softmax, lambda logits: torch.softmax(logits, dim=-1), class_weights
    ),
}


class TrainingLoss(nn.Module):
    """ce(fused) + branch_loss sum ce(branch) + concentration mean max(0, H - target).

    ce is the criterion's cross-entropy; with the binary one the first term is the paper's. The
    others are off unless the settings say otherwise. H is the entropy of the first sparse block's
    attention, as a share of the uniform one's.

    With a teacher the first two terms are times 1 - distillation, and distillation times their like
    is added: the cross-entropy against the teacher's probabilities, fused and, where branches are
    trained, of each branch, without weights of emotions.

    Args:
        weights: (E,), from the criterion's `weights`.
        settings: the weights of the terms.
        hard_attention: whether the entropy is all that the attention learns from.
        criterion: the name of one in `CRITERIA`.
    """

    weights: Tensor

    def __init__(
        self,
        weights: Tensor,
        settings: TrainingSettings,
        hard_attention: bool = False,
        criterion: LossName = "binary",
    ) -> None:
        super().__init__()
        self.hard_attention = hard_attention
        self.register_buffer("weights", weights)
        self.criterion = CRITERIA[criterion]
        self.settings = settings

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The first term alone: logits and labels (B, E) to a scalar."""
        return self.criterion.cross_entropy(logits, labels, self.weights)

    def options(self, done: float) -> dict[str, Any]:
        """Keyword arguments of the model's call, for what this loss needs besides logits.

        The first block's attention is asked for only while its entropy weighs anything: without,
        the block is fused. A hard attention is asked for throughout: its gradient of 0 lets Adam
        count its steps and decay its weights from the start.

        Args:
            done: share of the training's steps that are done.
        """
        weight = self.settings.concentration if self.hard_attention else self._concentration(done)
        if weight > 0:
            return {"branches": True, "entropy": tuple(self.settings.concentrated)}
        return {"branches": True} if self.settings.branch_loss > 0 else {}

    def _concentration(self, done: float) -> float:
        """The present weight of the entropy."""
        rise = min(1.0, max(0.0, (done - RISE[0]) / (RISE[1] - RISE[0])))
        return self.settings.concentration * rise

    def forward(
        self,
        outputs: Tensor | TrainingOutputs,
        labels: Tensor,
        done: float,
        taught: TrainingOutputs | None = None,
        share: Share = WHOLE,
    ) -> Tensor:
        """The loss, a scalar; of several processes the mean over them is that of all clips.

        Args:
            outputs: logits (B, E), or what the model gave for `options`.
            labels: (B, E) of 0 and 1.
            done: share of the training's steps that are done.
            taught: the teacher's outputs for the same clips; None: there is no teacher.
            share: which part of all processes' clips and frames these are.
        """
        logits = outputs if isinstance(outputs, Tensor) else outputs.logits
        loss: Tensor = self.cross_entropy(logits.float(), labels)
        if not isinstance(outputs, Tensor):
            for branch in outputs.branches:
                loss = loss + self.settings.branch_loss * self.cross_entropy(branch.float(), labels)
        if taught is not None:
            part = self.settings.distillation
            loss = (1 - part) * loss + part * self._taught(outputs, taught)
        loss = loss * share.of_clips
        if isinstance(outputs, Tensor):
            return loss
        weight = self._concentration(done)
        for name in self.settings.concentrated:
            entropy = outputs.entropies.get(name)
            if entropy is None or not len(entropy):
                continue
            excess = (entropy.float() - self.settings.concentration_target).clamp(min=0)
            loss = loss + weight * share.of_frames.get(name, 1.0) * excess.mean()
        return loss

    def _taught(self, outputs: Tensor | TrainingOutputs, taught: TrainingOutputs) -> Tensor:
        if isinstance(outputs, Tensor):
            return self._likeness(outputs, taught.logits)
        loss = self._likeness(outputs.logits, taught.logits)
        if self.settings.branch_loss > 0:
            for branch, teachers in zip(outputs.branches, taught.branches, strict=True):
                loss = loss + self._likeness(branch, teachers)
        return loss

    def _likeness(self, logits: Tensor, teachers: Tensor) -> Tensor:
        """Cross-entropy of logits (B, E) against another model's probabilities."""
        wanted = self.criterion.probabilities(teachers.float())
        return self.criterion.cross_entropy(logits.float(), wanted)
