import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from mesm.metrics import GRID, Thresholds, accuracy, f1, format_table, score, weighted_accuracy

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
        # scikit-learn leaves a class that does not occur out of the mean.
        rates = [np.mean(guess[truth == kind] == kind) for kind in (True, False) if kind in truth]
        assert weighted_accuracy(*ours)[emotion].item() == pytest.approx(np.mean(rates))
        if truth.any() and not truth.all():
            wanted = oracle.balanced_accuracy_score(truth, guess)
            assert weighted_accuracy(*ours)[emotion].item() == pytest.approx(wanted)


def test_weighted_accuracy_is_the_papers_equation():
    labels = torch.tensor([1, 1, 0, 0, 0, 0, 0, 0]).bool().unsqueeze(1)
    decisions = torch.tensor([1, 0, 1, 0, 0, 0, 0, 0]).bool().unsqueeze(1)
    true_positives, positives, true_negatives, negatives = 1, 2, 5, 6
    wanted = (true_positives * negatives / positives + true_negatives) / (2 * negatives)
    assert weighted_accuracy(decisions, labels).item() == pytest.approx(wanted)


def test_zero_denominators():
    none, every = torch.zeros(4, 1, dtype=torch.bool), torch.ones(4, 1, dtype=torch.bool)
    assert f1(none, none).item() == 0.0
    assert weighted_accuracy(none, none).item() == 1.0
    assert weighted_accuracy(none, every).item() == 0.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_no_threshold_beats_the_tuned_one(seed, clips):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(clips, 2, generator=generator)
    labels = (torch.rand(clips, 2, generator=generator) < 0.4).float()
    tuned = f1(Thresholds.tuned(logits, labels).decide(logits), labels.bool())
    for threshold in GRID:
        assert (f1(Thresholds("x", (threshold,) * 2).decide(logits), labels.bool()) <= tuned).all()


def test_tuned_threshold_stands_far_from_the_clips():
    probabilities = torch.tensor([[0.105], [0.205], [0.805], [0.905]])
    labels = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    (value,) = Thresholds.tuned(probabilities.logit(), labels).values
    assert value == pytest.approx(0.5)


def test_tuned_threshold_without_positives_is_half():
    (value,) = Thresholds.tuned(torch.randn(5, 1), torch.zeros(5, 1)).values
    assert value == 0.5


def test_a_nan_is_never_a_decision():
    logits = torch.tensor([[math.nan], [1.0]])
    assert Thresholds.half(1).decide(logits).tolist() == [[False], [True]]


@pytest.mark.parametrize(
    ("name", "short"), [("accuracy", " Acc "), ("weighted_accuracy", " WAcc ")]
)
def test_table_names_its_threshold(name, short):
    logits = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    for thresholds in (Thresholds.half(2), Thresholds.tuned(logits, labels)):
        scores = score(logits, labels, thresholds, EMOTIONS)
        assert scores["clips"] == 3
        assert scores["emotions"]["sad"]["positives"] == 2
        mean = (scores["emotions"]["angry"]["f1"] + scores["emotions"]["sad"]["f1"]) / 2
        assert scores["average"]["f1"] == pytest.approx(mean)
        table = format_table(scores, name)
        assert table.splitlines()[-1] == f"threshold: {thresholds.policy}"
        assert short in table
        assert "average" in table
