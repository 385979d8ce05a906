"""Hand-computed cases, scikit-learn as the oracle, and what must hold for any decisions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from mesm.evaluation.metrics import (
    GRID,
    Confusion,
    Thresholds,
    accuracy,
    f1,
    f1_key,
    f1_weighted,
    score,
    weighted_accuracy,
)

METRICS = ("accuracy", "weighted_accuracy", "f1", "f1_weighted")


def column(text: str) -> torch.Tensor:
    """ "1 0 1" to (3, 1) bool."""
    return torch.tensor([[bit == "1"] for bit in text.split()])


@pytest.mark.parametrize(
    ("labels", "decisions", "wanted"),
    [
        # TP 1, FN 1, FP 1, TN 5; P 2, N 6. Accuracy 6/8. WAcc (1 * 6/2 + 5) / 12 = 8/12.
        # F1 2 / (2 + 1 + 1). Absence: 10 / (10 + 2) = 5/6; weighted (2 * 1/2 + 6 * 5/6) / 8 = 6/8.
        ("1 1 0 0 0 0 0 0", "1 0 1 0 0 0 0 0", (3 / 4, 2 / 3, 1 / 2, 3 / 4)),
        # TP 3, FN 1, FP 2, TN 4; P 4, N 6. Accuracy 7/10. WAcc (3 * 6/4 + 4) / 12 = 8.5/12.
        # F1 6/9. Absence: 8/11; weighted (4 * 2/3 + 6 * 8/11) / 10 = (88 + 144) / 330 = 116/165.
        ("1 1 1 1 0 0 0 0 0 0", "1 1 1 0 1 1 0 0 0 0", (7 / 10, 17 / 24, 2 / 3, 116 / 165)),
        # All wrong: FN 1, FP 2.
        ("1 0 0", "0 1 1", (0, 0, 0, 0)),
        # "Never": TN 9, FN 1. Accuracy 9/10, WAcc 1/2, F1 0, absence 18/19, weighted 9/10 * 18/19.
        ("1 0 0 0 0 0 0 0 0 0", "0 0 0 0 0 0 0 0 0 0", (9 / 10, 1 / 2, 0, 81 / 95)),
        # No positives, TN 3, FP 1: WAcc is TN / N; F1 0; weighted is the absence's 6 / 7.
        ("0 0 0 0", "1 0 0 0", (3 / 4, 3 / 4, 0, 6 / 7)),
        # No positives and none decided for: binary F1 is 0 by convention, weighted 1.
        ("0 0", "0 0", (1, 1, 0, 1)),
        # All positives, TP 2, FN 1: WAcc is TP / P; both F1 are 4 / 5.
        ("1 1 1", "1 1 0", (2 / 3, 2 / 3, 4 / 5, 4 / 5)),
        # A single clip, right, and wrong.
        ("1", "1", (1, 1, 1, 1)),
        ("1", "0", (0, 0, 0, 0)),
    ],
)
def test_hand_computed(labels, decisions, wanted):
    found = Confusion.of(column(decisions), column(labels)).metrics()
    assert tuple(found) == METRICS
    assert [values.item() for values in found.values()] == pytest.approx(wanted, abs=1e-15)


def test_averages_are_over_emotions_not_over_decisions():
    # angry: TP 1, FN 1, FP 1, TN 5, as above. sad: TP 1, TN 7: all 1.
    labels = torch.cat((column("1 1 0 0 0 0 0 0"), column("0 0 0 0 0 0 0 1")), dim=1)
    decisions = torch.cat((column("1 0 1 0 0 0 0 0"), column("0 0 0 0 0 0 0 1")), dim=1)
    found = score(decisions.float() * 2 - 1, labels, Thresholds.half(2), EMOTIONS)
    wanted = {"accuracy": 7 / 8, "weighted_accuracy": 5 / 6, "f1": 3 / 4, "f1_weighted": 7 / 8}
    assert found["average"] == pytest.approx(wanted)
    assert found["emotions"]["sad"] == {**dict.fromkeys(METRICS, 1.0), "positives": 1}
    assert found["emotions"]["angry"]["positives"] == 2
    assert found["clips"] == 8


EMOTIONS = ["angry", "sad"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_scores_are_scikit_learns(seed, clips, positives, decided):
    generator = np.random.default_rng(seed)
    labels = generator.random((clips, 3)) < positives
    decisions = generator.random((clips, 3)) < decided
    ours = [torch.from_numpy(decisions), torch.from_numpy(labels)]
    for emotion in range(3):
        truth, guess = labels[:, emotion], decisions[:, emotion]
        assert accuracy(*ours)[emotion].item() == pytest.approx(oracle.accuracy_score(truth, guess))
        wanted = oracle.f1_score(truth, guess, zero_division=0)
        assert f1(*ours)[emotion].item() == pytest.approx(wanted)
        wanted = oracle.f1_score(truth, guess, average="weighted", zero_division=0)
        assert f1_weighted(*ours)[emotion].item() == pytest.approx(wanted)
        # scikit-learn leaves a class that does not occur out of the mean.
        rates = [np.mean(guess[truth == kind] == kind) for kind in (True, False) if kind in truth]
        assert weighted_accuracy(*ours)[emotion].item() == pytest.approx(np.mean(rates))
        if truth.any() and not truth.all():
            wanted = oracle.balanced_accuracy_score(truth, guess)
            assert weighted_accuracy(*ours)[emotion].item() == pytest.approx(wanted)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), st.randoms())
def test_what_holds_for_any_decisions(pairs, random):
    decisions, labels = torch.tensor(pairs).unsqueeze(1).unbind(-1)
    found = {name: values.item() for name, values in _metrics(decisions, labels).items()}
    assert all(0 <= value <= 1 for value in found.values())
    # The order of the clips does not matter, nor that each comes twice.
    random.shuffle(pairs)
    shuffled = torch.tensor([*pairs, *pairs]).unsqueeze(1).unbind(-1)
    again = {name: values.item() for name, values in _metrics(*shuffled).items()}
    assert again == pytest.approx(found)
    # Presence and absence change places: only the binary F1 may change.
    turned = {name: values.item() for name, values in _metrics(~decisions, ~labels).items()}
    for name in ("accuracy", "weighted_accuracy", "f1_weighted"):
        assert turned[name] == pytest.approx(found[name])
    positives, negatives = int(labels.sum()), int((~labels).sum())
    absence = turned["f1"]
    weighted = (positives * found["f1"] + negatives * absence) / len(labels)
    assert found["f1_weighted"] == pytest.approx(weighted)
    if positives and negatives:  # the paper's equation as it stands there
        hits = int((decisions & labels).sum())
        rejections = int((~decisions & ~labels).sum())
        wanted = (hits * negatives / positives + rejections) / (2 * negatives)
        assert found["weighted_accuracy"] == pytest.approx(wanted)


def _metrics(decisions, labels):
    return Confusion.of(decisions, labels).metrics()


def test_confusion_of_a_stack_is_that_of_each():
    generator = torch.Generator().manual_seed(0)
    decisions = torch.rand(3, 20, 2, generator=generator) < 0.5
    labels = torch.rand(20, 2, generator=generator) < 0.4
    for place in range(3):
        for function in (accuracy, weighted_accuracy, f1, f1_weighted):
            together = function(decisions, labels)
            assert torch.equal(together[place], function(decisions[place], labels))


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_no_threshold_beats_the_tuned_one(seed, clips):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(clips, 2, generator=generator)
    labels = (torch.rand(clips, 2, generator=generator) < 0.4).float()
    truth = labels.bool()
    for metric, tune in (
        (f1, Thresholds.tuned),
        (weighted_accuracy, Thresholds.tuned_on_weighted_accuracy),
    ):
        tuned = metric(tune(logits, labels).decide(logits), truth)
        for threshold in GRID:
            other = metric(Thresholds("x", (threshold,) * 2).decide(logits), truth)
            usable = torch.ones(2, dtype=torch.bool)
            if metric is weighted_accuracy:  # where there is nothing to weigh it is 0.5
                usable = (truth.sum(0) > 0) & (truth.sum(0) < len(truth))
            assert (other <= tuned)[usable].all()


def test_tuned_threshold_stands_far_from_the_clips():
    probabilities = torch.tensor([[0.105], [0.205], [0.805], [0.905]])
    labels = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    (value,) = Thresholds.tuned(probabilities.logit(), labels).values
    assert value == pytest.approx(0.5)


def test_tuned_threshold_without_positives_is_half():
    logits = torch.randn(5, 1, generator=torch.Generator().manual_seed(0))
    assert Thresholds.tuned(logits, torch.zeros(5, 1)).values == (0.5,)
    for labels in (torch.zeros(5, 1), torch.ones(5, 1)):
        assert Thresholds.tuned_on_weighted_accuracy(logits, labels).values == (0.5,)


def test_tuning_on_f1_and_on_weighted_accuracy_differ():
    # 2 positives, at .655 and .355; 10 negatives. Above .6: TP 1, FP 0, so F1 2/3 and WAcc
    # (1/2 + 10/10) / 2 = .75. Above .2: TP 2, FP 3, so F1 4/7 and WAcc (2/2 + 7/10) / 2 = .85.
    probabilities = torch.tensor([[0.655], [0.555], [0.545], [0.535], [0.355], *[[0.105]] * 7])
    labels = torch.zeros(12, 1)
    labels[[0, 4]] = 1
    assert 0.555 < Thresholds.tuned(probabilities.logit(), labels).values[0] < 0.655
    found = Thresholds.tuned_on_weighted_accuracy(probabilities.logit(), labels)
    assert 0.105 < found.values[0] < 0.355
    assert found.policy == "tuned on validation WAcc"


def test_choose_looks_at_the_validation_split_only_to_tune():
    logits = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    labels = (logits > 0.3).float()

    def refuse():
        raise AssertionError("not needed")

    assert Thresholds.choose("0.5", 2, refuse) == Thresholds.half(2)
    assert Thresholds.choose("tuned", 2, lambda: (logits, labels)) == Thresholds.tuned(
        logits, labels
    )
    found = Thresholds.choose("tuned_wacc", 2, lambda: (logits, labels))
    assert found == Thresholds.tuned_on_weighted_accuracy(logits, labels)


def test_a_nan_is_never_a_decision():
    logits = torch.tensor([[math.nan], [1.0]])
    assert Thresholds.half(1).decide(logits).tolist() == [[False], [True]]


def test_f1_stays_binary_whatever_the_variant():
    logits = torch.tensor([[1.0], [-1.0], [1.0]])
    labels = torch.tensor([[1.0], [0.0], [0.0]])
    binary = score(logits, labels, Thresholds.half(1), ["angry"])
    weighted = score(logits, labels, Thresholds.half(1), ["angry"], "weighted")
    assert binary.pop("f1_variant") == "binary"
    assert f1_key(binary) == "f1"  # as in files that name no variant
    assert f1_key(weighted) == "f1_weighted"
    assert weighted.pop("f1_variant") == "weighted"
    assert binary == weighted
