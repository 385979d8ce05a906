"""Which task a training has, and what each refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mesm.evaluation.calibration import Temperatures, calibration_of
from mesm.evaluation.metrics import Thresholds, score
from mesm.evaluation.single_label import MostProbable
from mesm.evaluation.softmax_calibration import SoftmaxTemperature, softmax_calibration_of
from mesm.evaluation.task import MULTI_LABEL, SINGLE_LABEL, task_of


@pytest.mark.parametrize(
    ("loss", "one_emotion", "wanted"),
    [
        (None, False, MULTI_LABEL),
        (None, True, SINGLE_LABEL),
        ("binary", True, MULTI_LABEL),
        ("cross_entropy", False, SINGLE_LABEL),
    ],
)
def test_the_setting_decides_and_else_the_corpus(loss, one_emotion, wanted):
    assert task_of(loss, one_emotion) is wanted
    assert loss in (None, wanted.loss)


def logits_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    return logits, torch.eye(3)[torch.arange(9) % 3]


def test_several_emotions_are_decided_for_by_thresholds():
    logits, labels = logits_and_labels()
    decider = MULTI_LABEL.decider("tuned", 3, lambda: (logits, labels))
    assert decider == Thresholds.tuned(logits, labels)
    found = MULTI_LABEL.score(logits, labels, decider, ["a", "b", "c"], "weighted")
    assert found == score(logits, labels, decider, ["a", "b", "c"], "weighted")
    assert MULTI_LABEL.temperatures is Temperatures
    assert MULTI_LABEL.calibration(logits, labels, ["a", "b", "c"], None) == calibration_of(
        logits, labels, ["a", "b", "c"], None
    )
    assert MULTI_LABEL.needs_validation("tuned")
    assert not MULTI_LABEL.needs_validation("0.5")
    assert MULTI_LABEL.accuracy_name("weighted_accuracy") == "weighted_accuracy"


def test_one_emotion_needs_no_validation_clips():
    def refuse() -> Any:
        raise AssertionError("asked")

    logits, labels = logits_and_labels()
    for policy in ("tuned", "tuned_wacc", "0.5"):
        assert isinstance(SINGLE_LABEL.decider(policy, 3, refuse), MostProbable)
        assert not SINGLE_LABEL.needs_validation(policy)
    found = SINGLE_LABEL.score(logits, labels, MostProbable(), ["a", "b", "c"], "weighted")
    assert found["task"] == "single_label"
    assert SINGLE_LABEL.temperatures is SoftmaxTemperature
    assert SINGLE_LABEL.calibration(
        logits, labels, ["a", "b", "c"], None
    ) == softmax_calibration_of(logits, labels, None)
    assert SINGLE_LABEL.accuracy_name("weighted_accuracy") == "accuracy"


@pytest.mark.parametrize(("threshold", "f1"), [("0.5", None), (None, "weighted")])
def test_options_without_effect_are_refused(threshold, f1):
    with pytest.raises(ValueError, match=r"run: has one emotion a clip .* leave it out"):
        SINGLE_LABEL.check_asked("run", threshold, f1)
    MULTI_LABEL.check_asked("run", threshold, f1)
    SINGLE_LABEL.check_asked("run", None, None)


class Corpus:
    """Splits of given labels."""

    path = "prepared"

    def __init__(self, **labels: list[list[int]]) -> None:
        self.labels = {"train": [[1, 0]], "valid": [[0, 1]], "test": [[1, 0]]} | labels

    def split(self, name: str) -> Any:
        labels = self.labels[name]
        ids = [f"{name}_{place}" for place in range(len(labels))]

        class Clips(SimpleNamespace):
            def __len__(self) -> int:
                return len(labels)

        return Clips(labels=np.array(labels, np.int8), clip_ids=ids)


def test_the_first_clip_with_another_number_of_emotions_is_named():
    corpora: list[Any] = [
        Corpus(),
        Corpus(valid=[]),
        Corpus(test=[[0, 1], [1, 1]]),
        Corpus(train=[[0, 0], [1, 1], [1, 0]]),
    ]
    SINGLE_LABEL.check_corpus(corpora[0])
    SINGLE_LABEL.check_corpus(corpora[1])
    with pytest.raises(ValueError, match="clip test_1 of the test split has 2; set training"):
        SINGLE_LABEL.check_corpus(corpora[2])
    with pytest.raises(ValueError, match="clip train_0 of the train split has 0, as have 1 more"):
        SINGLE_LABEL.check_corpus(corpora[3])
    for corpus in corpora:
        MULTI_LABEL.check_corpus(corpus)
