"""Scores give their counts back, and pooled ones are those of all clips at once."""

import pytest
import torch

from mesm.evaluation.counts import counts_of, pooled_average
from mesm.evaluation.metrics import Confusion, Thresholds, score
from mesm.evaluation.single_label import MostProbable, score_single

NAMES = ["angry", "sad", "happy"]


def drawn(clips: int, seed: int, single: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    if single:
        places = torch.randint(0, 2 if seed % 2 else 3, (clips,), generator=generator)
        labels = torch.nn.functional.one_hot(places, 3).float()
    else:
        rates = torch.tensor([0.02, 0.5, 1.0])
        labels = (torch.rand(clips, 3, generator=generator) < rates).float()
    return torch.randn(clips, 3, generator=generator) + labels - 0.5, labels


def scored(logits: torch.Tensor, labels: torch.Tensor, single: bool) -> dict:
    if single:
        return score_single(logits, labels, MostProbable(), NAMES)
    return score(logits, labels, Thresholds.half(3), NAMES)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("clips", [1, 2, 7, 100, 20_000])
def test_counts_come_back(clips, single):
    for seed in range(8):
        logits, labels = drawn(clips, seed, single)
        decider = MostProbable() if single else Thresholds.half(3)
        wanted = Confusion.of(decider.decide(logits), labels.bool())
        found = counts_of(scored(logits, labels, single), clips)
        assert torch.equal(found.stack(), wanted.stack())


@pytest.mark.parametrize("single", [False, True])
def test_pooled_scores_are_those_of_all_clips(single):
    parts = [drawn(clips, seed, single) for seed, clips in enumerate((5, 1, 40))]
    together = scored(*(torch.cat(of) for of in zip(*parts, strict=True)), single)
    found = pooled_average([scored(*part, single) for part in parts], [5, 1, 40])
    assert found == together["average"]


def test_all_right_and_nothing_found():
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    for logits in (labels * 2 - 1, 1 - labels * 2, -torch.ones(2, 3)):
        wanted = Confusion.of(logits > 0, labels.bool())
        assert torch.equal(counts_of(scored(logits, labels, False), 2).stack(), wanted.stack())


def test_scores_of_no_counts_are_refused():
    logits, labels = drawn(10, 0, False)
    right = scored(logits, labels, False)
    with pytest.raises(ValueError, match="has no scores of single emotions"):
        counts_of({"average": right["average"]}, 10)
    for change, message in (
        ({"f1": 0.123}, "has scores of sad that no 10 clips have"),
        ({"positives": 11}, "has scores of sad that no 10 clips have"),
        ({"f1": 1.0, "accuracy": 0.5}, "has scores of sad that no 10 clips have"),
    ):
        changed = {**right["emotions"], "sad": right["emotions"]["sad"] | change}
        with pytest.raises(ValueError, match=message):
            counts_of(right | {"emotions": changed}, 10)
    less = {name: {"accuracy": 0.5, "f1": 0.5} for name in NAMES}
    with pytest.raises(ValueError, match="has no positives of angry"):
        counts_of({"emotions": less}, 10)
    other = right | {"emotions": {**right["emotions"], "calm": right["emotions"]["sad"]}}
    with pytest.raises(ValueError, match="scores of other emotions"):
        pooled_average([right, other], [10, 10])
