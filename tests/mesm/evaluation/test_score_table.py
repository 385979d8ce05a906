"""Printed tables name threshold, F1 variant and how their intervals were made."""

import pytest
import torch

from mesm.evaluation.bootstrap import Bootstrap, intervals, paired_differences
from mesm.evaluation.calibration import Temperatures, calibration_of
from mesm.evaluation.metrics import Thresholds, score
from mesm.evaluation.score_table import (
    format_branches,
    format_calibration,
    format_differences,
    format_table,
)

EMOTIONS = ["angry", "sad"]
LOGITS = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
LABELS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize("thresholds", [Thresholds.half(2), Thresholds.tuned(LOGITS, LABELS)])
@pytest.mark.parametrize(
    ("accuracy", "variant", "heads"),
    [
        ("accuracy", "binary", ["emotion", "Acc", "F1", "clips", "threshold"]),
        ("weighted_accuracy", "weighted", ["emotion", "WAcc", "wF1", "clips", "threshold"]),
    ],
)
def test_names_its_threshold_and_its_f1(thresholds, accuracy, variant, heads):
    scores = score(LOGITS, LABELS, thresholds, EMOTIONS, variant)
    lines = format_table(scores, accuracy).splitlines()
    assert lines[0].split() == heads
    assert lines[-1] == f"threshold: {thresholds.policy}; F1: {variant}"


def test_values_stand_in_their_columns():
    # At 0.5 angry has TP 1, FP 1, TN 1 and sad is all right. Accuracy 2/3; F1 2/3, of the absence
    # 2/3 too, so the weighted one is 2/3.
    scores = score(LOGITS, LABELS, Thresholds.half(2), EMOTIONS)
    cells = [line.split() for line in format_table(scores, "accuracy").splitlines()]
    assert cells[1:4] == [
        ["angry", "66.7", "66.7", "1", "0.50"],
        ["sad", "100.0", "100.0", "2", "0.50"],
        ["average", "83.3", "83.3", "3"],
    ]
    # WAcc of angry is the mean of 1/1 and 1/2.
    assert format_table(scores, "weighted_accuracy").splitlines()[1].split()[1] == "75.0"


def test_branches_stand_beside_the_fused_scores():
    scores = score(LOGITS, LABELS, Thresholds.half(2), EMOTIONS, "weighted")
    scores["branches"] = {
        name: score(logits, LABELS, Thresholds.half(2), EMOTIONS)
        for name, logits in (("text", 2 * LABELS - 1), ("face", 1 - 2 * LABELS))
    }
    cells = [line.split() for line in format_branches(scores, "accuracy").splitlines()]
    assert cells == [
        ["branch", "alone", "Acc", "wF1"],
        ["text", "100.0", "100.0"],
        ["face", "0.0", "0.0"],
        ["all,", "fused", "83.3", "83.3"],
    ]


def test_calibration_is_told_before_and_after_the_temperatures():
    temperatures = Temperatures(
        {"angry": 2.0, "sad": 1.0}, {"sad": "none have it"}, split="valid", clips=9
    )
    found = calibration_of(LOGITS, LABELS, EMOTIONS, temperatures)
    lines = format_calibration(found).splitlines()
    assert lines[0].split() == ["calibration", "ECE", "at", "T", "T"]
    for line, (name, values) in zip(lines[1:3], found["emotions"].items(), strict=True):
        errors = [f"{100 * values[key]:.1f}" for key in ("ece", "ece_calibrated")]
        assert line.split() == [name, *errors, f"{temperatures.values[name]:.2f}"]
    assert lines[3].split()[0] == "average"
    assert lines[4:] == [
        "ECE: expected calibration error, 15 bins; T: temperature, fitted to 9 valid clips",
        "T of sad: none have it",
    ]
    lines = format_calibration(calibration_of(LOGITS, LABELS, EMOTIONS, None)).splitlines()
    assert lines[0].split() == ["calibration", "ECE"]
    assert [len(line.split()) for line in lines[1:4]] == [2, 2, 2]
    assert "no temperatures are kept" in lines[4]


def test_intervals_stand_behind_their_values():
    scores = score(LOGITS, LABELS, Thresholds.half(2), EMOTIONS)
    how = Bootstrap(draws=30, level=0.9, cluster="dialog")
    decisions = LOGITS > 0
    scores["intervals"] = intervals(decisions, LABELS.bool(), ["a", "b", "b"], EMOTIONS, how)
    lines = format_table(scores, "accuracy").splitlines()
    assert lines[0].split() == ["emotion", "Acc", "90", "%", "F1", "90", "%", "clips", "threshold"]
    low, high = scores["intervals"]["average"]["accuracy"]
    assert f"83.3{f'[{100 * low:.1f}, {100 * high:.1f}]':>16}" in lines[3]
    assert len(lines[0]) == len(lines[1])
    assert lines[-1] == (
        "intervals: 90 %, percentile bootstrap over 2 dialogs, 30 draws; thresholds held fixed"
    )
    scores["intervals"] = intervals(decisions, LABELS.bool(), ["a"] * 3, EMOTIONS, how)
    assert "–" in format_table(scores, "accuracy").splitlines()[1]


def test_differences_have_signs():
    first, labels = LOGITS > 0, LABELS.bool()
    found = paired_differences(first, labels, labels, list("abc"), EMOTIONS, Bootstrap(draws=20))
    found |= {"threshold": {"policy": "0.5"}, "f1_variant": "weighted"}
    lines = format_differences(found, "accuracy").splitlines()
    assert lines[0].split() == ["emotion", "Acc", "95", "%", "wF1", "95", "%"]
    assert lines[1].split()[:2] == ["angry", "-33.3"]
    assert "[-" in lines[1]
    assert lines[2].split()[:2] == ["sad", "+0.0"]
    assert lines[-2] == "threshold: 0.5; F1: weighted"
    assert lines[-1].startswith("intervals: 95 %, paired percentile bootstrap over 3 clips")
