"""Scores per emotion, one against the rest, and the thresholds that turn logits into decisions.

Every metric is a function of an emotion's four counts (`Confusion`); `docs/metrics.md` has them as
equations. Conventions where a denominator is 0: F1 is 0 when an emotion is neither present nor
decided for; the weighted accuracy of an emotion that all or none of the clips have is the accuracy
on what there is (as scikit-learn's balanced accuracy has it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mesm.config.experiment import F1Variant, ThresholdPolicy
from mesm.runs.scores import is_single_label

# Which column of the scores is the F1 that a table shows.
F1_KEYS: dict[F1Variant, str] = {"binary": "f1", "weighted": "f1_weighted"}
SHORT_NAMES = {
    "accuracy": "Acc",
    "weighted_accuracy": "WAcc",
    "f1": "F1",
    "f1_weighted": "wF1",
    # Where every clip has exactly one emotion (`mesm.evaluation.single_label`).
    "precision": "Prec",
    "recall": "Rec",
    "weighted_f1": "WF1",
    "macro_f1": "MF1",
    "uar": "UAR",
}
# Thresholds that are tried: 0.01, 0.02, ... 0.99.
GRID = tuple(step / 100 for step in range(1, 100))


@dataclass(frozen=True)
class Thresholds:
    """One threshold per emotion on the probability, and how they were found.

    Args:
        policy: "0.5", "tuned on validation F1" or "tuned on validation WAcc".
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
        """Per emotion, the threshold with the best binary F1 on the validation split.

        If several are as good, the middle of the longest run of neighbouring thresholds: far from
        the clips on either side.

        Args:
            logits: (N, E), of the validation split.
            labels: (N, E) of 0 and 1.
        """
        return cls("tuned on validation F1", _best_of_grid(f1, logits, labels))

    @classmethod
    def tuned_on_weighted_accuracy(cls, logits: Tensor, labels: Tensor) -> Thresholds:
        """As `tuned`, with the best weighted accuracy.

        0.5 for an emotion that all or none of the clips have: there is nothing to weigh.
        """
        values = _best_of_grid(weighted_accuracy, logits, labels)
        positives = labels.bool().sum(0).tolist()
        return cls(
            "tuned on validation WAcc",
            tuple(
                value if 0 < count < len(labels) else 0.5
                for value, count in zip(values, positives, strict=True)
            ),
        )

    @classmethod
    def choose(
        cls,
        policy: ThresholdPolicy,
        emotions: int,
        validation: Callable[[], tuple[Tensor, Tensor]],
    ) -> Thresholds:
        """Those that `evaluation.threshold` asks for.

        Args:
            policy: "tuned", "tuned_wacc" or "0.5".
            emotions: how many.
            validation: gives logits and labels (N, E) of the validation split; called only if
                they are needed.
        """
        if policy == "tuned":
            return cls.tuned(*validation())
        if policy == "tuned_wacc":
            return cls.tuned_on_weighted_accuracy(*validation())
        return cls.half(emotions)

    def decide(self, logits: Tensor) -> Tensor:
        """(N, E) logits to (N, E) bool."""
        return logits.double().sigmoid() > torch.tensor(self.values, dtype=torch.float64)

    def facts(self, emotions: Sequence[str]) -> dict[str, Any]:
        """The policy and each emotion's threshold, for a file."""
        return {"policy": self.policy, "values": dict(zip(emotions, self.values, strict=True))}


def _best_of_grid(
    metric: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor
) -> tuple[float, ...]:
    grid = torch.tensor(GRID, dtype=torch.float64)
    decisions = logits.double().sigmoid() > grid[:, None, None]
    scores = metric(decisions, labels.bool())
    return tuple(_middle_of_best(scores[:, emotion]) for emotion in range(labels.shape[1]))


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


@dataclass(frozen=True)
class Confusion:
    """How often an emotion was decided for and was there; float64, (..., E).

    Args:
        true_positives: decided for and there.
        false_positives: decided for and not there.
        false_negatives: not decided for and there.
        true_negatives: not decided for and not there.
    """

    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    true_negatives: Tensor

    @classmethod
    def per_clip(cls, decisions: Tensor, labels: Tensor) -> Confusion:
        """One of the four is 1, the others 0: (..., N, E) bool to (..., N, E)."""
        return cls(
            (decisions & labels).double(),
            (decisions & ~labels).double(),
            (~decisions & labels).double(),
            (~decisions & ~labels).double(),
        )

    @classmethod
    def of(cls, decisions: Tensor, labels: Tensor) -> Confusion:
        """Counted over the clips: (..., N, E) bool to (..., E)."""
        return cls(
            (decisions & labels).sum(-2).double(),
            (decisions & ~labels).sum(-2).double(),
            (~decisions & labels).sum(-2).double(),
            (~decisions & ~labels).sum(-2).double(),
        )

    def stack(self) -> Tensor:
        """(4, ..., E), in the order of the arguments."""
        return torch.stack(
            (
                self.true_positives,
                self.false_positives,
                self.false_negatives,
                self.true_negatives,
            )
        )

    @classmethod
    def unstack(cls, counts: Tensor) -> Confusion:
        """The inverse of `stack`."""
        return cls(*counts.unbind(0))

    @property
    def positives(self) -> Tensor:
        """P: the clips that have the emotion."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> Tensor:
        """N: the clips that have not."""
        return self.true_negatives + self.false_positives

    def accuracy(self) -> Tensor:
        """(TP + TN) / (P + N)."""
        return (self.true_positives + self.true_negatives) / (self.positives + self.negatives)

    def weighted_accuracy(self) -> Tensor:
        """(TP * N / P + TN) / (2 N), which is the mean of TP / P and TN / N."""
        found = self.true_positives / self.positives
        rejected = self.true_negatives / self.negatives
        both = (found + rejected) / 2
        return torch.where(
            self.positives == 0, rejected, torch.where(self.negatives == 0, found, both)
        )

    def f1(self) -> Tensor:
        """Binary: 2 TP / (2 TP + FP + FN)."""
        return _f1(self.true_positives, self.false_positives + self.false_negatives)

    def f1_weighted(self) -> Tensor:
        """(P F1 + N F1') / (P + N), F1' being the F1 of the emotion's absence.

        scikit-learn's `f1_score(average="weighted")` over the two classes of one emotion.
        """
        absence = _f1(self.true_negatives, self.false_positives + self.false_negatives)
        weighted = self.positives * self.f1() + self.negatives * absence
        return weighted / (self.positives + self.negatives)

    def metrics(self) -> dict[str, Tensor]:
        """All four by name, each (..., E) float64."""
        return {
            "accuracy": self.accuracy(),
            "weighted_accuracy": self.weighted_accuracy(),
            "f1": self.f1(),
            "f1_weighted": self.f1_weighted(),
        }


def _f1(right: Tensor, wrong: Tensor) -> Tensor:
    return 2 * right / (2 * right + wrong).clamp(min=1)


@dataclass(frozen=True)
class Measures:
    """The metrics of a kind of task, as functions of the counts.

    Args:
        per_emotion: counts (..., E) to a column (..., E) per name.
        overall: counts (..., E) to a value (...) per name; None: the columns' means.
        thresholds: whether decisions depend on thresholds.
    """

    per_emotion: Callable[[Confusion], dict[str, Tensor]]
    overall: Callable[[Confusion], dict[str, Tensor]] | None = None
    thresholds: bool = True


# One emotion against the rest.
MEASURES = Measures(Confusion.metrics)


def f1(decisions: Tensor, labels: Tensor) -> Tensor:
    """Binary F1 per emotion: (..., N, E) bool to (..., E) float64."""
    return Confusion.of(decisions, labels).f1()


def f1_weighted(decisions: Tensor, labels: Tensor) -> Tensor:
    """Weighted F1 per emotion: (..., N, E) bool to (..., E) float64."""
    return Confusion.of(decisions, labels).f1_weighted()


def accuracy(decisions: Tensor, labels: Tensor) -> Tensor:
    """Share of right decisions per emotion: (..., N, E) bool to (..., E) float64."""
    return Confusion.of(decisions, labels).accuracy()


def weighted_accuracy(decisions: Tensor, labels: Tensor) -> Tensor:
    """(TP * N / P + TN) / (2 N), P positives and N negatives: (..., N, E) to (..., E) float64."""
    return Confusion.of(decisions, labels).weighted_accuracy()


def score(
    logits: Tensor,
    labels: Tensor,
    thresholds: Thresholds,
    emotions: Sequence[str],
    f1_variant: F1Variant = "binary",
) -> dict[str, Any]:
    """All scores of a split.

    Args:
        logits: (N, E).
        labels: (N, E) of 0 and 1.
        thresholds: for the decisions.
        emotions: E names.
        f1_variant: which F1 tables show; both are always there.

    Returns:
        {"clips": N, "threshold": {"policy", "values": {emotion: value}}, "f1_variant",
        "emotions": {emotion: {"accuracy", "weighted_accuracy", "f1", "f1_weighted", "positives"}},
        "average": {"accuracy", "weighted_accuracy", "f1", "f1_weighted"}}, all JSON values. "f1" is
        the binary one, whatever the variant.
    """
    truth = labels.bool()
    columns = Confusion.of(thresholds.decide(logits), truth).metrics()
    per_emotion = {
        emotion: {name: float(values[place]) for name, values in columns.items()}
        | {"positives": int(truth[:, place].sum())}
        for place, emotion in enumerate(emotions)
    }
    return {
        "clips": len(truth),
        "threshold": thresholds.facts(emotions),
        "f1_variant": f1_variant,
        "emotions": per_emotion,
        "average": {name: float(values.mean()) for name, values in columns.items()},
    }


def f1_key(scores: Mapping[str, Any]) -> str:
    """The average that is the scores' F1: "f1" or "f1_weighted"; older scores are binary.

    "macro_f1" where every clip has exactly one emotion.
    """
    if is_single_label(scores):
        return "macro_f1"
    return F1_KEYS[scores.get("f1_variant", "binary")]


def emotion_columns(scores: Mapping[str, Any], accuracy: str) -> tuple[str, ...]:
    """Which of an emotion's scores a table shows; `accuracy` is the one that its corpus wants."""
    return ("recall", "f1") if is_single_label(scores) else (accuracy, f1_key(scores))


def overall_columns(scores: Mapping[str, Any], accuracy: str) -> tuple[str, ...]:
    """Which of the "average" scores a table shows, likewise."""
    if is_single_label(scores):
        return "accuracy", "uar", "weighted_f1", "macro_f1"
    return accuracy, f1_key(scores)
