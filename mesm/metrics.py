"""Scores per emotion, one against the rest, and the thresholds that turn logits into decisions.

Conventions where a denominator is 0: F1 is 0 when an emotion is neither present nor decided for;
the weighted accuracy of an emotion that all or none of the clips have is the accuracy on what
there is (as scikit-learn's balanced accuracy has it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Thresholds that are tried: 0.01, 0.02, ... 0.99.
GRID = tuple(step / 100 for step in range(1, 100))


@dataclass(frozen=True)
class Thresholds:
    """One threshold per emotion on the probability, and how they were found.

    Args:
        policy: "0.5", or "tuned on validation F1".
        values: E thresholds; an emotion is decided for if its probability is above.
    """

    policy: str
    values: tuple[float, ...]

    @classmethod
    def half(cls, emotions: int) -> Thresholds:
        """0.5 for every emotion."""
        return cls("0.5", (0.5,) * emotions)

    @classmethod
    def tuned(cls, logits: Tensor, labels: Tensor) -> Thresholds:
        """Per emotion, the threshold with the best F1 on the validation split.

        Of several as good, the middle of the longest run of neighbouring ones: far from the clips
        on either side of it.

        Args:
            logits: (N, E), of the validation split.
            labels: (N, E) of 0 and 1.
        """
        grid = torch.tensor(GRID, dtype=torch.float64)
        decisions = logits.double().sigmoid() > grid[:, None, None]
        scores = f1(decisions, labels.bool())
        values = [_middle_of_best(scores[:, emotion]) for emotion in range(labels.shape[1])]
        return cls("tuned on validation F1", tuple(values))

    def decide(self, logits: Tensor) -> Tensor:
        """(N, E) logits to (N, E) bool."""
        return logits.double().sigmoid() > torch.tensor(self.values, dtype=torch.float64)


def _middle_of_best(scores: Tensor) -> float:
    best = (scores >= scores.max() - 1e-12).tolist()
    runs: list[tuple[int, int]] = []
    start = 0
    for place, good in enumerate([*best, False]):
        if not good:
            if place > start:
                runs.append((start, place))
            start = place + 1
    first, end = max(runs, key=lambda run: run[1] - run[0])
    return GRID[(first + end - 1) // 2]


def f1(decisions: Tensor, labels: Tensor) -> Tensor:
    """Binary F1 per emotion: (..., N, E) bool to (..., E) float64."""
    true_positives = (decisions & labels).sum(-2).double()
    wrong = (decisions ^ labels).sum(-2).double()
    return 2 * true_positives / (2 * true_positives + wrong).clamp(min=1)


def accuracy(decisions: Tensor, labels: Tensor) -> Tensor:
    """Share of right decisions per emotion: (..., N, E) bool to (..., E) float64."""
    return (decisions == labels).double().mean(-2)


def weighted_accuracy(decisions: Tensor, labels: Tensor) -> Tensor:
    """(TP * N / P + TN) / (2 N), P positives and N negatives: (..., N, E) to (..., E) float64."""
    positives, negatives = labels.sum(-2).double(), (~labels).sum(-2).double()
    found = (decisions & labels).sum(-2).double() / positives
    rejected = (~decisions & ~labels).sum(-2).double() / negatives
    both = (found + rejected) / 2
    return torch.where(positives == 0, rejected, torch.where(negatives == 0, found, both))


def score(
    logits: Tensor, labels: Tensor, thresholds: Thresholds, emotions: Sequence[str]
) -> dict[str, Any]:
    """All scores of a split.

    Args:
        logits: (N, E).
        labels: (N, E) of 0 and 1.
        thresholds: for the decisions.
        emotions: E names.

    Returns:
        {"clips": N, "threshold": {"policy", "values": {emotion: value}},
        "emotions": {emotion: {"accuracy", "weighted_accuracy", "f1", "positives"}},
        "average": {"accuracy", "weighted_accuracy", "f1"}}, all JSON values.
    """
    decisions, truth = thresholds.decide(logits), labels.bool()
    columns = {
        "accuracy": accuracy(decisions, truth),
        "weighted_accuracy": weighted_accuracy(decisions, truth),
        "f1": f1(decisions, truth),
    }
    per_emotion = {
        emotion: {name: float(values[place]) for name, values in columns.items()}
        | {"positives": int(truth[:, place].sum())}
        for place, emotion in enumerate(emotions)
    }
    return {
        "clips": len(truth),
        "threshold": {
            "policy": thresholds.policy,
            "values": dict(zip(emotions, thresholds.values, strict=True)),
        },
        "emotions": per_emotion,
        "average": {name: float(values.mean()) for name, values in columns.items()},
    }


def format_table(scores: dict[str, Any], accuracy_name: str) -> str:
    """A table in percent, one line per emotion and the average; names its threshold.

    Args:
        scores: what `score` gave.
        accuracy_name: "accuracy" (IEMOCAP) or "weighted_accuracy" (CMU-MOSEI).
    """
    short = {"accuracy": "Acc", "weighted_accuracy": "WAcc"}[accuracy_name]
    lines = [f"{'emotion':<12}{short:>8}{'F1':>8}{'clips':>8}{'threshold':>11}"]
    thresholds = scores["threshold"]["values"]
    for emotion, values in scores["emotions"].items():
        lines.append(
            f"{emotion:<12}{100 * values[accuracy_name]:>8.1f}{100 * values['f1']:>8.1f}"
            f"{values['positives']:>8}{thresholds[emotion]:>11.2f}"
        )
    average = scores["average"]
    lines.append(
        f"{'average':<12}{100 * average[accuracy_name]:>8.1f}{100 * average['f1']:>8.1f}"
        f"{scores['clips']:>8}"
    )
    lines.append(f"threshold: {scores['threshold']['policy']}")
    return "\n".join(lines)
