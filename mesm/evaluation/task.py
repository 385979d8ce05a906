"""The two kinds of task: emotions each for themselves, or exactly one emotion a clip.

`task_of` says which one a training's settings and its corpus make; all that differs between them in
scoring stands here, and their losses in `mesm.training.losses.CRITERIA`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from mesm.config.experiment import F1Variant, LossName, ThresholdPolicy
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.splits import SPLITS
from mesm.evaluation import single_label
from mesm.evaluation.calibration import Temperatures, calibration_of
from mesm.evaluation.metrics import MEASURES, Measures, Thresholds, score
from mesm.evaluation.single_label import MostProbable, score_single
from mesm.evaluation.softmax_calibration import SoftmaxTemperature, softmax_calibration_of
from mesm.runs import scores

Decider = Thresholds | MostProbable


class Task(ABC):
    """How logits become decisions, scores and probabilities.

    Attributes:
        loss: name of its loss, as `training.loss` has it.
        title: in messages.
        measures: its metrics, for intervals.
        temperatures: the class of its temperatures.
        f1: "average" score by which the best epoch is chosen.
        f1_variant: how metrics.jsonl calls that.
        f1_title: how messages call it.
        decided: how messages call what stands for the policy of decisions.
        note: printed when a training begins; empty: nothing.
    """

    loss: ClassVar[LossName]
    title: ClassVar[str]
    measures: ClassVar[Measures]
    temperatures: ClassVar[type[Temperatures]]
    f1: ClassVar[str]
    f1_variant: ClassVar[str]
    f1_title: ClassVar[str]
    decided: ClassVar[str]
    note: ClassVar[str] = ""

    @abstractmethod
    def needs_validation(self, policy: ThresholdPolicy) -> bool:
        """Whether decisions depend on validation predictions."""

    @abstractmethod
    def decider(
        self,
        policy: ThresholdPolicy,
        emotions: int,
        validation: Callable[[], tuple[Tensor, Tensor]],
    ) -> Decider:
        """The maker of decisions; arguments as of `mesm.evaluation.metrics.Thresholds.choose`."""

    @abstractmethod
    def score(
        self,
        logits: Tensor,
        labels: Tensor,
        decided_by: Any,
        emotions: Sequence[str],
        f1_variant: F1Variant = "binary",
    ) -> dict[str, Any]:
        """All scores of a split.

        Args:
            logits: (N, E).
            labels: (N, E) of 0 and 1.
            decided_by: from `decider`.
            emotions: E names.
            f1_variant: which F1 tables show, where there is a choice.
        """

    @abstractmethod
    def calibration(
        self,
        logits: Tensor,
        labels: Tensor,
        emotions: Sequence[str],
        temperatures: Temperatures | None,
    ) -> Mapping[str, Any]:
        """The calibration of a split; arguments as of `calibration_of`."""

    @abstractmethod
    def accuracy_name(self, corpus: str) -> str:
        """Which accuracy tables show, of which `corpus` is what the corpus wants."""

    @abstractmethod
    def facts(self, f1_variant: F1Variant) -> dict[str, Any]:
        """The keys of scores by which `mesm.evaluation.metrics.f1_key` knows their F1."""

    @abstractmethod
    def check_corpus(self, corpus: PreparedCorpus) -> None:
        """Refuse, with a ValueError, a corpus whose clips are no such task's."""

    @abstractmethod
    def check_asked(self, run: str, threshold: str | None, f1: str | None) -> None:
        """Refuse, with a ValueError, options instead of a run's own settings without effect."""


class MultiLabel(Task):
    """Each emotion against the rest, by thresholds; a clip may have several or none."""

    loss = "binary"
    title = "several emotions a clip"
    measures = MEASURES
    temperatures = Temperatures
    f1, f1_variant, f1_title, decided = "f1", "binary", "F1", "threshold"

    def needs_validation(self, policy: ThresholdPolicy) -> bool:
        """Whether thresholds are tuned."""
        return policy != "0.5"

    def decider(
        self,
        policy: ThresholdPolicy,
        emotions: int,
        validation: Callable[[], tuple[Tensor, Tensor]],
    ) -> Thresholds:
        """Thresholds."""
        return Thresholds.choose(policy, emotions, validation)

    def score(
        self,
        logits: Tensor,
        labels: Tensor,
        decided_by: Any,
        emotions: Sequence[str],
        f1_variant: F1Variant = "binary",
    ) -> dict[str, Any]:
        """See `mesm.evaluation.metrics.score`."""
        return score(logits, labels, decided_by, emotions, f1_variant)

    def calibration(
        self,
        logits: Tensor,
        labels: Tensor,
        emotions: Sequence[str],
        temperatures: Temperatures | None,
    ) -> Mapping[str, Any]:
        """See `mesm.evaluation.calibration.calibration_of`."""
        return calibration_of(logits, labels, emotions, temperatures)

    def accuracy_name(self, corpus: str) -> str:
        """The corpus's."""
        return corpus

    def facts(self, f1_variant: F1Variant) -> dict[str, Any]:
        """The F1 that is shown."""
        return {"f1_variant": f1_variant}

    def check_corpus(self, corpus: PreparedCorpus) -> None:
        """Any number of emotions a clip is right."""

    def check_asked(self, run: str, threshold: str | None, f1: str | None) -> None:
        """Any threshold and any F1 are right."""


class SingleLabel(Task):
    """The most probable emotion, without thresholds; every clip has exactly one."""

    loss = "cross_entropy"
    title = "one emotion a clip"
    measures = single_label.MEASURES
    temperatures = SoftmaxTemperature
    f1, f1_variant, f1_title, decided = "macro_f1", "macro", "macro F1", "decided by"
    note = (
        "one emotion a clip: softmax cross-entropy, and the most probable emotion is decided for; "
        "evaluation.threshold and evaluation.f1 have no effect"
    )

    def needs_validation(self, policy: ThresholdPolicy) -> bool:
        """Nothing is tuned."""
        return False

    def decider(
        self,
        policy: ThresholdPolicy,
        emotions: int,
        validation: Callable[[], tuple[Tensor, Tensor]],
    ) -> MostProbable:
        """The largest logit's."""
        return MostProbable()

    def score(
        self,
        logits: Tensor,
        labels: Tensor,
        decided_by: Any,
        emotions: Sequence[str],
        f1_variant: F1Variant = "binary",
    ) -> dict[str, Any]:
        """See `mesm.evaluation.single_label.score_single`; all variants of F1 are shown."""
        return score_single(logits, labels, decided_by, emotions)

    def calibration(
        self,
        logits: Tensor,
        labels: Tensor,
        emotions: Sequence[str],
        temperatures: Temperatures | None,
    ) -> Mapping[str, Any]:
        """See `mesm.evaluation.softmax_calibration.softmax_calibration_of`."""
        return softmax_calibration_of(logits, labels, temperatures)

    def accuracy_name(self, corpus: str) -> str:
        """The share of clips that are decided right."""
        return "accuracy"

    def facts(self, f1_variant: F1Variant) -> dict[str, Any]:
        """The task, of which all F1 are shown."""
        return {"task": scores.SINGLE_LABEL}

    def check_corpus(self, corpus: PreparedCorpus) -> None:
        """Refuse, with a ValueError that names the first, clips with not exactly one emotion."""
        for split in SPLITS:
            clips = corpus.split(split)
            counts = clips.labels.sum(axis=1) if len(clips) else np.ones(0)
            odd = np.flatnonzero(counts != 1)
            if len(odd):
                more = f", as have {len(odd) - 1} more" if len(odd) > 1 else ""
                raise ValueError(
                    f"{corpus.path}: training.loss cross_entropy wants exactly one emotion a clip, "
                    f"and clip {clips.clip_ids[odd[0]]} of the {split} split has "
                    f"{counts[odd[0]]}{more}; set training.loss=binary"
                )

    def check_asked(self, run: str, threshold: str | None, f1: str | None) -> None:
        """Refuse, with a ValueError, thresholds and variants of F1, of which there are none."""
        for name, value in (("threshold", threshold), ("f1", f1)):
            if value is not None:
                raise ValueError(
                    f"{run}: has one emotion a clip and decides for the most probable one, so "
                    f"--{name} {value} would have no effect; leave it out"
                )


MULTI_LABEL, SINGLE_LABEL = MultiLabel(), SingleLabel()


def task_of(loss: LossName | None, one_emotion: bool) -> Task:
    """The task of a training.

    Args:
        loss: `training.loss`.
        one_emotion: the `single_label` of its corpus's manifest, which decides where that is None.
    """
    wanted = loss or ("cross_entropy" if one_emotion else "binary")
    return SINGLE_LABEL if wanted == SINGLE_LABEL.loss else MULTI_LABEL


def f1_title(record: Mapping[str, Any]) -> str:
    """The name of an epoch's "valid_f1" in messages; earlier records are of several emotions."""
    macro = record.get("f1_variant") == SINGLE_LABEL.f1_variant
    return (SINGLE_LABEL if macro else MULTI_LABEL).f1_title
