"""Intervals against scipy's, their coverage in simulations, and the pairing."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as oracle

from mesm.evaluation.bootstrap import Bootstrap, intervals, paired_differences

METRICS = ("accuracy", "weighted_accuracy", "f1", "f1_weighted")


def drawn(seed: int, clips: int, emotions: int = 1, right: float = 0.8, share: float = 0.3):
    """Decisions that are right with a chance, labels that are there with another."""
    generator = np.random.default_rng(seed)
    labels = generator.random((clips, emotions)) < share
    decisions = labels ^ (generator.random((clips, emotions)) > right)
    return torch.from_numpy(decisions), torch.from_numpy(labels)


def names(clips: int) -> list[str]:
    return [f"d{clip}" for clip in range(clips)]


def test_is_scipys_percentile_bootstrap_draw_for_draw():
    decisions, labels = drawn(0, 60, emotions=2)
    found = intervals(decisions, labels, names(60), ["a", "b"], Bootstrap(draws=79, seed=5))
    functions = {
        "accuracy": oracle.accuracy_score,
        "weighted_accuracy": oracle.balanced_accuracy_score,
        "f1": oracle.f1_score,
        "f1_weighted": lambda truth, guess: oracle.f1_score(truth, guess, average="weighted"),
    }
    for name, function in functions.items():

        def of(place, truth, guess, function=function):
            return function(truth[:, place], guess[:, place])

        def average(truth, guess, of=of):
            return (of(0, truth, guess) + of(1, truth, guess)) / 2

        for wanted_of, mine in (
            (lambda t, g, of=of: of(0, t, g), found["emotions"]["a"][name]),
            (lambda t, g, of=of: of(1, t, g), found["emotions"]["b"][name]),
            (average, found["average"][name]),
        ):
            wanted = stats.bootstrap(
                (np.arange(60),),
                lambda rows, of=wanted_of: of(labels.numpy()[rows], decisions.numpy()[rows]),
                n_resamples=79,
                vectorized=False,
                method="percentile",
                rng=np.random.default_rng(5),
            ).confidence_interval
            assert mine == pytest.approx([wanted.low, wanted.high], abs=1e-12)


def test_blocks_change_nothing(monkeypatch):
    decisions, labels = drawn(1, 50, emotions=3)
    arguments = (decisions, labels, names(50), ["a", "b", "c"], Bootstrap(draws=100))
    whole = intervals(*arguments)
    monkeypatch.setattr("mesm.evaluation.bootstrap.BLOCK_ELEMENTS", 7 * 50)
    assert intervals(*arguments) == whole


def test_same_seed_same_interval_and_the_facts_are_named():
    decisions, labels = drawn(2, 40)
    how = Bootstrap(draws=50, level=0.8, seed=3)
    found = intervals(decisions, labels, names(40), ["a"], how)
    assert found == intervals(decisions, labels, names(40), ["a"], how)
    assert found != intervals(decisions, labels, names(40), ["a"], Bootstrap(50, 0.8, seed=4))
    facts = {key: value for key, value in found.items() if key not in ("emotions", "average")}
    assert facts == {
        "method": "percentile bootstrap",
        "draws": 50,
        "level": 0.8,
        "seed": 3,
        "cluster": "clip",
        "units": 40,
        "thresholds": "held fixed",
    }


def test_coverage_of_clips():
    """95 % intervals of the accuracy (0.8) and the F1 hold the truth in about 95 % of the samples.

    300 samples have a standard error of 1.3 points; the percentile bootstrap of 150 clips itself
    falls about a point short. So 0.95 less 1 and 3 standard errors: at least 0.90.
    """
    # TP .24, FN .06, FP .14, TN .56 of all clips.
    truths = {"accuracy": 0.8, "f1": 0.48 / (0.48 + 0.06 + 0.14)}
    held = dict.fromkeys(truths, 0)
    for seed in range(300):
        found = intervals(*drawn(seed, 150), names(150), ["a"], Bootstrap(draws=200, seed=seed))
        for name, truth in truths.items():
            low, high = found["emotions"]["a"][name]
            held[name] += low <= truth <= high
    for count in held.values():
        assert 0.90 <= count / 300 <= 0.99


def test_coverage_of_dialogs():
    """Where all of a dialog are right or wrong together, only the clustered interval covers.

    30 dialogs of 5 clips, whose accuracies are 0 or 1 with mean 0.8. Clip intervals are narrower by
    sqrt(5) and cover about 60 %; the tolerance of the others as above, with 2 points for so few.
    """
    dialogs = [f"d{clip // 5}" for clip in range(150)]
    held = {"clip": 0, "dialog": 0}
    for seed in range(200):
        generator = np.random.default_rng(seed)
        labels = torch.from_numpy(generator.random((150, 1)) < 0.5)
        wrong = torch.from_numpy(np.repeat(generator.random((30, 1)) < 0.2, 5, axis=0))
        for cluster in held:
            how = Bootstrap(draws=200, seed=seed, cluster=cluster)
            found = intervals(labels ^ wrong, labels, dialogs, ["a"], how)
            low, high = found["emotions"]["a"]["accuracy"]
            held[cluster] += low <= 0.8 <= high
    assert 0.87 <= held["dialog"] / 200 <= 0.99
    assert held["clip"] / 200 < 0.75


def test_dialogs_of_one_clip_are_clips():
    decisions, labels = drawn(3, 30)
    by_clip, by_dialog = (
        intervals(decisions, labels, names(30), ["a"], Bootstrap(draws=60, cluster=cluster))
        for cluster in ("clip", "dialog")
    )
    assert by_clip["emotions"] == by_dialog["emotions"]
    assert by_dialog["cluster"] == "dialog"


def test_a_dialog_s_clips_need_not_stand_together():
    decisions, labels = drawn(4, 40)
    dialogs = [f"d{clip % 8}" for clip in range(40)]
    how = Bootstrap(draws=60, cluster="dialog")
    found = intervals(decisions, labels, dialogs, ["a"], how)
    order = sorted(range(40), key=lambda clip: (clip % 8, clip))
    sorted_ = intervals(decisions[order], labels[order], [dialogs[i] for i in order], ["a"], how)
    assert found == sorted_
    assert found["units"] == 8


@pytest.mark.parametrize("cluster", ["clip", "dialog"])
def test_one_unit_has_no_interval(cluster):
    decisions, labels = drawn(5, 1 if cluster == "clip" else 9, emotions=2)
    dialogs = ["same"] * len(labels)
    how = Bootstrap(draws=20, cluster=cluster)
    found = intervals(decisions, labels, dialogs, ["a", "b"], how)
    assert found["average"] == dict.fromkeys(METRICS)
    assert found["emotions"]["b"] == dict.fromkeys(METRICS)
    pair = paired_differences(decisions, ~decisions, labels, dialogs, ["a", "b"], how)
    assert pair["average"]["accuracy"]["interval"] is None
    assert math.isfinite(pair["average"]["accuracy"]["difference"])


@pytest.mark.parametrize("present", [True, False])
def test_degenerate_columns_stay_finite(present):
    """No positives, or nothing else; and a rare emotion that many draws miss."""
    decisions, labels = drawn(6, 12, emotions=2)
    labels[:, 0] = present
    labels[:, 1] = torch.arange(12) == 0
    found = intervals(decisions, labels, names(12), ["a", "rare"], Bootstrap(draws=80))
    for values in [*found["emotions"].values(), found["average"]]:
        for low, high in values.values():
            assert 0 <= low <= high <= 1


def test_a_system_does_not_differ_from_itself():
    decisions, labels = drawn(7, 30)
    found = paired_differences(decisions, decisions, labels, names(30), ["a"], Bootstrap(draws=40))
    for values in (found["emotions"]["a"], found["average"]):
        for name in METRICS:
            assert values[name] == {"difference": 0.0, "interval": [0.0, 0.0]}


def test_paired_differences_are_scipys_and_turn_with_their_arguments():
    first, labels = drawn(8, 50)
    second = first ^ (torch.arange(50).unsqueeze(1) % 9 == 0)
    how = Bootstrap(draws=99, seed=2)
    found = paired_differences(first, second, labels, names(50), ["a"], how)["emotions"]["a"]["f1"]

    def difference(rows):
        truth = labels.numpy()[rows]
        scores = [oracle.f1_score(truth, guess.numpy()[rows]) for guess in (first, second)]
        return scores[0] - scores[1]

    wanted = stats.bootstrap(
        (np.arange(50),),
        difference,
        n_resamples=99,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert found["interval"] == pytest.approx([wanted.low, wanted.high], abs=1e-12)
    assert found["difference"] == pytest.approx(difference(np.arange(50)))
    turned = paired_differences(second, first, labels, names(50), ["a"], how)
    low, high = turned["emotions"]["a"]["f1"]["interval"]
    assert [-high, -low] == pytest.approx(found["interval"])


def test_pairing_narrows_where_the_systems_err_alike():
    first, labels = drawn(9, 200, right=0.7)
    second = first ^ (torch.arange(200).unsqueeze(1) % 40 == 0)
    how = Bootstrap(draws=300)
    alone = intervals(first, labels, names(200), ["a"], how)["average"]["accuracy"]
    pair = paired_differences(first, second, labels, names(200), ["a"], how)
    low, high = pair["average"]["accuracy"]["interval"]
    # Differing on 5 clips of 200, the difference's deviation is at most sqrt(5) / 200 = 0.011, a
    # single system's sqrt(0.21 / 200) = 0.032.
    assert high - low < (alone[1] - alone[0]) / 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 0}, "at least one draw, got 0"),
        ({"level": 1.0}, r"in \(0, 1\), got 1.0"),
        ({"cluster": "speaker"}, "clip or dialog, got 'speaker'"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        Bootstrap(**settings)
