"""The scores after an epoch, by which the best weights are chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from mesm.config.experiment import ExperimentConfig
from mesm.data.clips import SplitDataset
from mesm.evaluation.predict import predict
from mesm.evaluation.task import MULTI_LABEL, Task
from mesm.training.losses import TrainingLoss


@dataclass
class Validation:
    """A validation split, scored after every epoch.

    Args:
        dataset: the split.
        collate: makes a batch of its samples.
        emotions: their names.
        config: of the training.
        accelerator: of the training.
        task: of the training.
    """

    dataset: SplitDataset
    collate: Callable[[list[Any]], Any]
    emotions: list[str]
    config: ExperimentConfig
    accelerator: Accelerator
    task: Task = MULTI_LABEL

    def __call__(
        self, model: nn.Module, loss: TrainingLoss
    ) -> tuple[dict[str, Any], tuple[Tensor, Tensor]]:
        """Score a model.

        Args:
            model: as the accelerator prepared it.
            loss: the training's.

        Returns:
            The row of metrics.jsonl, and the split's logits and labels.

        Raises:
            NotFiniteError: the model's outputs are not finite.
        """
        training, device = self.config.training, self.accelerator.device
        logits, labels, _ = predict(
            model,
            self.dataset,
            self.collate,
            training.batch_size,
            device,
            self.accelerator,
            workers=training.workers,
        )
        policy = self.config.evaluation.threshold
        thresholds = self.task.decider(policy, len(self.emotions), lambda: (logits, labels))
        scores = self.task.score(logits, labels, thresholds, self.emotions)
        row = {
            "valid_loss": float(loss.cross_entropy(logits.to(device), labels.to(device))),
            "valid_f1": scores["average"][self.task.f1],
            "valid_accuracy": scores["average"]["accuracy"],
            "valid_f1_per_emotion": {
                emotion: values["f1"] for emotion, values in scores["emotions"].items()
            },
            "threshold": thresholds.policy,
            "f1_variant": self.task.f1_variant,  # of valid_f1, by which the best epoch is chosen
        }
        return row, (logits, labels)
