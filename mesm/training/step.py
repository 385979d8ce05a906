"""One step of a training, in which nothing waits for the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from mesm.training.losses import TrainingLoss
from mesm.training.share import WHOLE, Share

if TYPE_CHECKING:
    from mesm.config.experiment import TrainingSettings
    from mesm.models.late_fusion import TrainingOutputs


class Means(NamedTuple):
    """Means over the steps since `TrainingStep.start`, and their clips.

    Attributes:
        loss: mean over their clips.
        gradient_norm: mean over their steps, before it is limited; None: there is no limit, or
            some step's was not finite.
        clips: of all processes.
    """

    loss: float
    gradient_norm: float | None
    clips: int


def itself(sums: Tensor) -> Tensor:
    """The sums over the processes, of which there is one."""
    return sums


class TrainingStep:
    """Forward, loss, backward, limit of the gradient, update.

    Losses and norms are summed where the model is; the host reads them when `means` is called.

    Args:
        model: `model(batch, **options)` gives what the loss takes.
        optimizer: of the model's parameters.
        loss: on the model's device.
        settings: say the gradient's limit.
        device: the model's.
        backward: instead of `Tensor.backward`, where losses are scaled.
        clip: instead of `torch.nn.utils.clip_grad_norm_`, likewise.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: TrainingLoss,
        settings: TrainingSettings,
        device: torch.device | str,
        *,
        backward: Callable[[Tensor], Any] = Tensor.backward,
        clip: Callable[..., Tensor] = nn.utils.clip_grad_norm_,
    ) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.limit = settings.gradient_clip
        self.backward, self.clip = backward, clip
        self.loss_sum, self.norm_sum = torch.zeros(2, device=device).unbind()
        self.start()

    def start(self) -> None:
        """Forget the sums."""
        self.loss_sum.zero_()
        self.norm_sum.zero_()
        self.clips = self.steps = 0

    def __call__(
        self,
        batch: Any,
        done: float,
        taught: TrainingOutputs | None = None,
        share: Share = WHOLE,
    ) -> None:
        """Learn from one batch.

        Args:
            batch: B clips, on the model's device.
            done: share of the training's steps that are done.
            taught: a teacher's outputs for the same clips; None: there is no teacher.
            share: which part of all processes' clips and frames the batch is.
        """
        outputs = self.model(batch, **self.loss.options(done))
        value: Tensor = self.loss(outputs, batch.labels, done, taught, share)
        self.backward(value)
        for parameter in share.unread:
            parameter.grad = None
        if self.limit is not None:
            self.norm_sum += self.clip(self.model.parameters(), self.limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        own, average = (len(batch),) * 2 if share.clips is None else share.clips
        self.loss_sum += value.detach() * average
        self.clips += own
        self.steps += 1

    def means(self, over_processes: Callable[[Tensor], Tensor] = itself) -> Means:
        """The means so far; waits for the device.

        Args:
            over_processes: adds up the sums (4,) of all processes.
        """
        counts = (torch.full_like(self.loss_sum, count) for count in (self.clips, self.steps))
        sums = over_processes(torch.stack((self.loss_sum, self.norm_sum, *counts))).cpu()
        norm = float(sums[1] / sums[3])
        return Means(
            loss=float(sums[0] / sums[2]),
            gradient_norm=norm if self.limit is not None and math.isfinite(norm) else None,
            clips=int(sums[2]),
        )
