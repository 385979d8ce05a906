"""One temperature against scipy's search, and the calibration error against a loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor

from mesm.evaluation.calibration import HIGHEST, LOWEST, diagrams, errors
from mesm.evaluation.softmax_calibration import SoftmaxTemperature, softmax_calibration_of
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256

NAMES = ["angry", "happy", "sad"]


def drawn(clips: int, seed: int = 0, sharp: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, clips)
    logits = sharp * (np.eye(3)[truth] + generator.normal(0, 1.0, (clips, 3)))
    return torch.tensor(logits, dtype=torch.float32), torch.eye(3)[torch.tensor(truth)]


@pytest.mark.parametrize("sharp", [0.3, 1.0, 6.0])
def test_the_temperature_has_the_least_cross_entropy(sharp):
    logits, labels = drawn(200, sharp=sharp)
    found = SoftmaxTemperature.fit(logits, labels, NAMES)

    def entropy(log_t: float) -> float:
        shares = log_softmax(logits.double().numpy() / np.exp(log_t), axis=1)
        return -float((labels.numpy() * shares).sum())

    wanted = minimize_scalar(entropy, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    assert np.log(found.values["softmax"]) == pytest.approx(wanted.x, abs=1e-4)
    assert found.notes == {}
    assert (found.split, found.clips) == ("valid", 200)


def test_probabilities_are_the_softmax_and_keep_their_order():
    logits, labels = drawn(50)
    found = SoftmaxTemperature.fit(logits, labels, NAMES)
    probabilities = found.probabilities(logits)
    assert probabilities.dtype == torch.float64
    torch.testing.assert_close(probabilities.sum(1), torch.ones(50, dtype=torch.float64))
    assert torch.equal(probabilities.argsort(1), logits.double().argsort(1))


@pytest.mark.parametrize(
    ("logits", "labels", "value", "note"),
    [
        ([[1.0, 2.0], [2.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]], 1.0, "the same emotion"),
        ([[1.0, 1.0], [2.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]], 1.0, "are equal, so T = 1"),
        ([[3.0, 0.0], [0.0, 3.0]], [[1.0, 0.0], [0.0, 1.0]], LOWEST, "T is the least"),
        ([[3.0, 0.0], [0.0, 3.0]], [[0.0, 1.0], [1.0, 0.0]], HIGHEST, "T is the greatest"),
    ],
)
def test_where_no_temperature_is_best_it_says_why(logits, labels, value, note):
    found = SoftmaxTemperature.fit(torch.tensor(logits), torch.tensor(labels), ["angry", "sad"])
    assert found.values == {"softmax": value}
    assert note in found.notes["softmax"]


def by_loop(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error of the most probable emotion."""
    error = 0.0
    confidence, right = (
        probabilities.max(1),
        labels[np.arange(len(labels)), probabilities.argmax(1)],
    )
    for place in range(15):
        inside = (confidence > place / 15) & (confidence <= (place + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def test_the_error_is_that_of_the_most_probable_emotion():
    logits, labels = drawn(300)
    temperature = SoftmaxTemperature.fit(*drawn(100, 1), NAMES)
    found = softmax_calibration_of(logits, labels, temperature)
    plain = logits.double().softmax(1).numpy()
    assert found["top"]["ece"] == pytest.approx(by_loop(plain, labels.numpy()))
    cooled = temperature.probabilities(logits).numpy()
    assert found["top"]["ece_calibrated"] == pytest.approx(by_loop(cooled, labels.numpy()))
    assert found["fitted"] == {"split": "valid", "clips": 100, "notes": {}}
    assert sum(row["clips"] for row in found["top"]["reliability"]) == 300
    assert list(diagrams(found)) == ["most probable emotion"]
    assert errors(found) == found["top"]
    without = softmax_calibration_of(logits, labels, None)
    assert set(without["top"]) == {"ece", "reliability"}
    assert "fitted" not in without


def test_it_is_kept_with_the_weights_that_it_is_of(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.best.write_bytes(b"weights")
    found = SoftmaxTemperature.fit(*drawn(40), NAMES)
    assert SoftmaxTemperature.read(folder, "", NAMES) is None
    found.write(folder)
    assert SoftmaxTemperature.read(folder, sha256(folder.best), NAMES) == found
    assert SoftmaxTemperature.read(folder, "0" * 64, NAMES) is None


def test_no_clips_are_refused():
    with pytest.raises(ValueError, match="wanted clips, got none"):
        SoftmaxTemperature.fit(torch.zeros(0, 3), torch.zeros(0, 3), NAMES)
