"""The training loss: binary cross-entropy per emotion, rarer emotions weighing more; options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesm.models.late_fusion import TrainingOutputs

if TYPE_CHECKING:
    from mesm.config.experiment import TrainingSettings

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


class TrainingLoss(nn.Module):
    """bce(fused) + branch_loss sum bce(branch) + concentration mean max(0, H - target).

    The first term is the paper's; the others are off unless the settings say otherwise. H is the
    entropy of the first sparse block's attention, as a share of the uniform one's.

    With a teacher the first two terms are times 1 - distillation, and distillation times their like
    is added: the cross-entropy against the teacher's probabilities, fused and, where branches are
    trained, of each branch, without weights of emotions.

    Args:
        positive_weight: (E,), from `positive_weights`.
        settings: the weights of the terms.
        hard_attention: whether the entropy is all that the attention learns from.
    """

    def __init__(
        self, positive_weight: Tensor, settings: TrainingSettings, hard_attention: bool = False
    ) -> None:
        super().__init__()
        self.hard_attention = hard_attention
        self.cross_entropy = nn.BCEWithLogitsLoss(pos_weight=positive_weight)
        self.settings = settings

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
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            outputs: logits (B, E), or what the model gave for `options`.
            labels: (B, E) of 0 and 1.
            done: share of the training's steps that are done.
            taught: the teacher's outputs for the same clips; None: there is no teacher.
        """
        logits = outputs if isinstance(outputs, Tensor) else outputs.logits
        loss: Tensor = self.cross_entropy(logits.float(), labels)
        if not isinstance(outputs, Tensor):
            for branch in outputs.branches:
                loss = loss + self.settings.branch_loss * self.cross_entropy(branch.float(), labels)
        if taught is not None:
            share = self.settings.distillation
            loss = (1 - share) * loss + share * self._taught(outputs, taught)
        if isinstance(outputs, Tensor):
            return loss
        weight = self._concentration(done)
        for name in self.settings.concentrated:
            entropy = outputs.entropies.get(name)
            if entropy is None or not len(entropy):
                continue
            excess = (entropy.float() - self.settings.concentration_target).clamp(min=0)
            loss = loss + weight * excess.mean()
        return loss

    def _taught(self, outputs: Tensor | TrainingOutputs, taught: TrainingOutputs) -> Tensor:
        if isinstance(outputs, Tensor):
            return _likeness(outputs, taught.logits)
        loss = _likeness(outputs.logits, taught.logits)
        if self.settings.branch_loss > 0:
            for branch, teachers in zip(outputs.branches, taught.branches, strict=True):
                loss = loss + _likeness(branch, teachers)
        return loss


def _likeness(logits: Tensor, teachers: Tensor) -> Tensor:
    """Cross-entropy of logits (B, E) against another model's probabilities."""
    return F.binary_cross_entropy_with_logits(logits.float(), teachers.float().sigmoid())
