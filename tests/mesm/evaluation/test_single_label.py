"""Scores of one emotion a clip: by hand, and against scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from torch import Tensor

from mesm.evaluation.bootstrap import Bootstrap, intervals, paired_differences
from mesm.evaluation.metrics import Confusion, emotion_columns, f1_key, overall_columns
from mesm.evaluation.single_label import MEASURES, MostProbable, score_single
from mesm.runs.scores import is_single_label


def one_hot(places: list[int], emotions: int) -> Tensor:
    return torch.eye(emotions)[torch.tensor(places)]


def names(emotions: int) -> list[str]:
    return [f"emotion {place}" for place in range(emotions)]


def scored(truth: list[int], decided: list[int], emotions: int) -> dict[str, object]:
    labels, logits = one_hot(truth, emotions), one_hot(decided, emotions)
    return score_single(logits, labels, MostProbable(), names(emotions))


def test_by_hand():
    # Rows of the confusion matrix: 2 1 0, 1 1 0, 0 0 0 (no clip has the third emotion).
    found = scored([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], 3)
    assert found["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    # F1: 4 / 6, 2 / 4, and 0 without a clip or a decision, which is left out of the mean.
    assert found["average"] == pytest.approx(
        {
            "accuracy": 3 / 5,
            "weighted_f1": (3 * 2 / 3 + 2 / 2) / 5,
            "macro_f1": (2 / 3 + 1 / 2) / 2,
            "uar": (2 / 3 + 1 / 2) / 2,
        }
    )
    assert found["emotions"]["emotion 2"] == {
        **dict.fromkeys(("precision", "recall", "f1"), 0.0),
        **dict.fromkeys(("positives", "decided"), 0),
    }
    assert found["clips"] == 5
    assert found["threshold"] == {"policy": "argmax"}
    assert is_single_label(found)
    assert f1_key(found) == "macro_f1"
    assert emotion_columns(found, "weighted_accuracy") == ("recall", "f1")
    assert overall_columns(found, "x") == ("accuracy", "uar", "weighted_f1", "macro_f1")


def of_sklearn(truth: np.ndarray, decided: np.ndarray) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of emotions without clips
        return {
            "accuracy": oracle.accuracy_score(truth, decided),
            "weighted_f1": oracle.f1_score(truth, decided, average="weighted", zero_division=0),
            "macro_f1": oracle.f1_score(truth, decided, average="macro", zero_division=0),
            "uar": oracle.balanced_accuracy_score(truth, decided),
        }


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    emotions = draw(st.integers(2, 7))
    clips = draw(st.integers(1, 40))
    few = st.integers(0, draw(st.integers(0, emotions - 1)))
    truth = draw(st.lists(few, min_size=clips, max_size=clips))
    decided = draw(st.lists(st.integers(0, emotions - 1), min_size=clips, max_size=clips))
    return emotions, truth, decided


@settings(max_examples=150)
@given(cases())
def test_as_scikit_learn(case):
    """Also with emotions that no clip has, of which some are decided for."""
    emotions, truth, decided = case
    found = scored(truth, decided, emotions)
    assert found["average"] == pytest.approx(of_sklearn(np.array(truth), np.array(decided)))
    places = range(emotions)
    matrix = oracle.confusion_matrix(truth, decided, labels=list(places))
    assert found["confusion"] == matrix.tolist()
    wanted = oracle.precision_recall_fscore_support(
        truth, decided, labels=list(places), zero_division=0
    )
    for place, values in enumerate(found["emotions"].values()):
        got = [values[name] for name in ("precision", "recall", "f1", "positives")]
        assert got == pytest.approx([column[place] for column in wanted])
        assert values["decided"] == decided.count(place)


def test_the_largest_logit_is_decided_for_and_of_equal_ones_the_first():
    logits = torch.tensor([[-3.0, -1.0, -2.0], [1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    decisions = MostProbable().decide(logits)
    assert decisions.dtype == torch.bool
    assert decisions.int().tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("labels", [[[1.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]])
def test_clips_with_none_or_several_emotions_are_refused(labels):
    with pytest.raises(ValueError, match="wanted exactly one label of each clip"):
        score_single(torch.zeros(2, 2), torch.tensor(labels), MostProbable(), ["angry", "sad"])


def drawn(clips: int, emotions: int, seed: int) -> list[Tensor]:
    generator = np.random.default_rng(seed)
    return [
        one_hot(generator.integers(0, emotions, clips).tolist(), emotions).bool() for _ in range(3)
    ]


@pytest.mark.parametrize("cluster", ["clip", "dialog"])
def test_intervals_are_quantiles_of_resampled_scores(cluster):
    """Each draw scored by scikit-learn: some hold no clip of an emotion."""
    decisions, _, labels = drawn(12, 3, 1)
    dialogs = [f"dialog {place % 5}" for place in range(12)]
    how = Bootstrap(draws=60, seed=3, cluster=cluster)
    found = intervals(decisions, labels, dialogs, names(3), how, MEASURES)
    units = (
        [[place] for place in range(12)]
        if cluster == "clip"
        else [[p for p in range(12) if p % 5 == dialog] for dialog in range(5)]
    )
    times = np.random.default_rng(3).integers(0, len(units), (60, len(units)))
    scores: dict[str, list[float]] = {}
    for draw in times:
        places = [place for unit in draw for place in units[unit]]
        truth, decided = (x.int().argmax(1).numpy()[places] for x in (labels, decisions))
        for name, value in of_sklearn(truth, decided).items():
            scores.setdefault(name, []).append(value)
    for name, values in scores.items():
        wanted = np.quantile(values, [0.025, 0.975])
        assert found["average"][name] == pytest.approx(wanted.tolist()), name
    assert list(found["emotions"]) == names(3)
    assert set(found["emotions"]["emotion 0"]) == {"precision", "recall", "f1"}
    assert "thresholds" not in found


def test_a_single_clip_has_no_interval():
    decisions, _, labels = drawn(1, 2, 0)
    found = intervals(decisions, labels, ["a"], names(2), Bootstrap(draws=5), MEASURES)
    assert found["average"] == dict.fromkeys(("accuracy", "weighted_f1", "macro_f1", "uar"))


def test_differences_are_of_the_same_clips():
    first, second, labels = drawn(15, 4, 2)
    found = paired_differences(
        first, second, labels, ["x"] * 15, names(4), Bootstrap(draws=40), MEASURES
    )
    truth, one, other = (x.int().argmax(1).numpy() for x in (labels, first, second))
    ours, theirs = of_sklearn(truth, one), of_sklearn(truth, other)
    for name, values in found["average"].items():
        assert values["difference"] == pytest.approx(ours[name] - theirs[name])
        low, high = values["interval"]
        assert low <= high
    alike = paired_differences(
        first, first, labels, ["x"] * 15, names(4), Bootstrap(draws=40), MEASURES
    )
    assert alike["average"]["uar"] == {"difference": 0.0, "interval": [0.0, 0.0]}


def test_measures_are_those_of_the_scores():
    decisions, _, labels = drawn(20, 5, 4)
    counts = Confusion.of(decisions, labels)
    found = score_single(decisions.float(), labels.float(), MostProbable(), names(5))
    assert MEASURES.overall is not None
    overall = {name: float(value) for name, value in MEASURES.overall(counts).items()}
    assert found["average"] == overall
