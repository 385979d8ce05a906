"""Decisions and scores where every clip has exactly one emotion: the most probable one counts.

Every metric is a function of the emotions' four counts (`mesm.evaluation.metrics.Confusion`);
`docs/metrics.md` has them as equations. Where a denominator is 0: precision, recall and F1 are 0,
as scikit-learn's `zero_division=0` has it. The unweighted average recall is over the emotions that
the clips have, and the macro F1 over those that they have or that were decided for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mesm.evaluation.metrics import Confusion, Measures
from mesm.runs.scores import SINGLE_LABEL

ARGMAX = "argmax"


class MostProbable:
    """Decides for the emotion with the largest logit; of equal ones, for the first.

    Attributes:
        policy: how tables name it.
    """

    policy = ARGMAX

    def decide(self, logits: Tensor) -> Tensor:
        """(N, E) logits to (N, E) bool, one True per clip."""
        # NumPy's takes the first of equal ones, and torch's does not say which.
        places = torch.from_numpy(np.argmax(logits.numpy(), axis=1))
        decisions = torch.zeros(logits.shape, dtype=torch.bool)
        return decisions.scatter_(1, places[:, None], True)

    def facts(self, emotions: Sequence[str]) -> dict[str, Any]:
        """How logits became decisions, for a file: there are no thresholds."""
        del emotions
        return {"policy": self.policy}


def _per_emotion(counts: Confusion) -> dict[str, Tensor]:
    right = counts.true_positives
    decided = right + counts.false_positives
    return {
        "precision": right / decided.clamp(min=1),
        "recall": right / counts.positives.clamp(min=1),
        "f1": counts.f1(),
    }


def _overall(counts: Confusion) -> dict[str, Tensor]:
    right, there = counts.true_positives, counts.positives
    clips = there.sum(-1)
    f1, recall = counts.f1(), right / there.clamp(min=1)
    known = (there + counts.false_positives > 0).sum(-1)
    return {
        "accuracy": right.sum(-1) / clips,
        "weighted_f1": (there * f1).sum(-1) / clips,
        "macro_f1": f1.sum(-1) / known,
        "uar": recall.sum(-1) / (there > 0).sum(-1),
    }


MEASURES = Measures(_per_emotion, _overall, thresholds=False)


def score_single(
    logits: Tensor, labels: Tensor, decided_by: MostProbable, emotions: Sequence[str]
) -> dict[str, Any]:
    """All scores of a split.

    Args:
        logits: (N, E).
        labels: (N, E) of 0 and 1, exactly one 1 per clip.
        decided_by: makes the decisions.
        emotions: E names.

    Returns:
        {"task": "single_label", "clips": N, "threshold": {"policy": "argmax"}, "emotions":
        {emotion: {"precision", "recall", "f1", "positives", "decided"}}, "average": {"accuracy",
        "weighted_f1", "macro_f1", "uar"}, "confusion": N clips as a list per emotion that they
        have, of how many were decided for each}, all JSON values.

    Raises:
        ValueError: a clip has not exactly one label.
    """
    truth = labels.bool()
    if not bool((truth.sum(1) == 1).all()):
        raise ValueError("scores of one emotion a clip: wanted exactly one label of each clip")
    decisions = decided_by.decide(logits)
    counts = Confusion.of(decisions, truth)
    columns = _per_emotion(counts)
    pairs = truth.double().T @ decisions.double()
    return {
        "task": SINGLE_LABEL,
        "clips": len(truth),
        "threshold": decided_by.facts(emotions),
        "emotions": {
            emotion: {name: float(values[place]) for name, values in columns.items()}
            | {
                "positives": int(truth[:, place].sum()),
                "decided": int(decisions[:, place].sum()),
            }
            for place, emotion in enumerate(emotions)
        },
        "average": {name: float(value) for name, value in _overall(counts).items()},
        "confusion": pairs.long().tolist(),
    }
