"""Kept with a run's weights: what decisions and probabilities need of the validation split."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mesm.config.experiment import ExperimentConfig, ThresholdPolicy
from mesm.evaluation.metrics import Thresholds
from mesm.evaluation.task import Task
from mesm.runs.documents import ThresholdDocument
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import read_sealed, sealed, sha256


def keep_validation(
    folder: RunFolder,
    config: ExperimentConfig,
    task: Task,
    validated: tuple[Tensor, Tensor],
    emotions: Sequence[str],
) -> None:
    """Write temperatures.json and, where thresholds are tuned, thresholds.json.

    Args:
        folder: of the run, with the weights that the logits are of.
        config: its settings.
        task: of its clips.
        validated: logits (N, E) of the validation split, and labels (N, E) of 0 and 1.
        emotions: E names.
    """
    policy = config.evaluation.threshold
    task.temperatures.fit(*validated, emotions).write(folder)
    if not task.needs_validation(policy):
        return
    tuned = task.decider(policy, len(emotions), lambda: validated)
    values = {
        "weights": sha256(folder.best),
        "split": "valid",
        "clips": len(validated[1]),
        "setting": policy,
        **tuned.facts(emotions),
    }
    folder.write_json(folder.thresholds, sealed(values))


def kept_thresholds(
    folder: RunFolder, weights: str, policy: ThresholdPolicy, emotions: Sequence[str]
) -> Thresholds | None:
    """The thresholds that a training kept; None: none of these weights by this policy.

    Args:
        folder: of the run.
        weights: SHA-256 of its weights.
        policy: `evaluation.threshold`.
        emotions: E names.

    Raises:
        ValueError: the file is damaged, or of other emotions; names it.
    """
    file = folder.thresholds
    found = read_sealed(file, ThresholdDocument, "delete it")
    if found is None or found["weights"] != weights or found["setting"] != policy:
        return None
    if list(found["values"]) != list(emotions):
        raise ValueError(
            f"{file}: wanted thresholds of {', '.join(emotions)}, got "
            f"{', '.join(found['values'])}; delete it"
        )
    return Thresholds(found["policy"], tuple(found["values"].values()))
