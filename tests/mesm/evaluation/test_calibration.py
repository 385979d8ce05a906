"""Temperatures and calibration errors against scipy, loops and hand-made figures."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import optimize

from mesm.evaluation.calibration import (
    BINS,
    HIGHEST,
    LOWEST,
    Reliability,
    Temperatures,
    calibration_of,
)
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256


def drawn(clips, emotions, scale=1.0, seed=0):
    """Logits, and labels drawn with just their probabilities; then the logits times `scale`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(clips, emotions, generator=generator, dtype=torch.float64) - 0.5
    labels = (torch.rand(logits.shape, generator=generator) < logits.sigmoid()).float()
    return scale * logits, labels


def names(count):
    return [f"emotion {place}" for place in range(count)]


def brute_force(probabilities, labels):
    """The definition, clip by clip, of one emotion."""
    total = 0.0
    for i in range(BINS):
        inside = [
            (p, y)
            for p, y in zip(probabilities, labels, strict=True)
            if i / BINS < p <= (i + 1) / BINS or (i == 0 and p == 0)
        ]
        if inside:
            gap = sum(y for _, y in inside) / len(inside) - sum(p for p, _ in inside) / len(inside)
            total += len(inside) / len(labels) * abs(gap)
    return total


@pytest.mark.parametrize(("clips", "emotions"), [(1, 1), (7, 3), (500, 6)])
def test_error_is_the_definitions(clips, emotions):
    logits, labels = drawn(clips, emotions, scale=2.0)
    found = Reliability.of(logits.sigmoid(), labels)
    assert found.clips.sum(1).tolist() == [clips] * emotions
    wanted = [
        brute_force(p, y)
        for p, y in zip(logits.sigmoid().T.tolist(), labels.T.tolist(), strict=True)
    ]
    assert found.error().tolist() == pytest.approx(wanted, abs=1e-12)


def test_error_of_an_example_by_hand():
    # Two clips at 0.9, of which one has the emotion; two at 0.3, of which none has.
    probabilities = torch.tensor([[0.9], [0.9], [0.3], [0.3]], dtype=torch.float64)
    found = Reliability.of(probabilities, torch.tensor([[1.0], [0.0], [0.0], [0.0]]))
    assert float(found.error()) == pytest.approx(0.5 * 0.4 + 0.5 * 0.3)
    assert found.filled(0) == [
        {"bin": 4, "clips": 2, "probability": pytest.approx(0.3), "frequency": 0.0},
        {"bin": 13, "clips": 2, "probability": pytest.approx(0.9), "frequency": 0.5},
    ]


def test_edges_belong_to_the_bin_below():
    edges = torch.tensor([[i / BINS] for i in range(BINS + 1)], dtype=torch.float64)
    found = Reliability.of(edges, torch.zeros_like(edges))
    assert found.clips[0].tolist() == [2, *[1] * (BINS - 1)]
    beyond = torch.nextafter(edges[1:-1], torch.ones(1, dtype=torch.float64))
    assert Reliability.of(beyond, torch.zeros_like(beyond)).clips[0].tolist() == [
        0,
        *[1] * (BINS - 1),
    ]


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_temperature_is_scipys_minimum(scale, seed):
    logits, labels = drawn(300, 3, scale, seed)
    found = Temperatures.fit(logits, labels, names(3))
    assert found.notes == {}
    assert (found.split, found.clips) == ("valid", 300)
    for place, value in enumerate(found.values.values()):
        z, y = logits[:, place].numpy(), labels[:, place].numpy()

        def loss(log_t, z=z, y=y):
            scaled = z / math.exp(log_t)
            return np.mean(np.logaddexp(0, scaled) - y * scaled)

        wanted = optimize.minimize_scalar(
            loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), options={"xatol": 1e-10}
        )
        # A minimum is flat: its place is known to the root of the loss's precision.
        assert math.log(value) == pytest.approx(wanted.x, abs=1e-6)


def test_a_known_factor_is_found():
    logits, labels = drawn(20_000, 2)
    own = Temperatures.fit(logits, labels, names(2)).values
    assert list(own.values()) == pytest.approx([1.0, 1.0], abs=0.05)
    for factor in (0.25, 3.0, 7.0):
        found = Temperatures.fit(factor * logits, labels, names(2))
        wanted = [factor * value for value in own.values()]
        assert list(found.values.values()) == pytest.approx(wanted, rel=1e-9)
        assert torch.allclose(
            found.probabilities(factor * logits),
            (logits / torch.tensor(list(own.values())).double()).sigmoid(),
        )


def test_calibration_brings_overconfident_logits_down_to_the_truth():
    fitted, labels = drawn(4_000, 2, scale=4.0)
    temperatures = Temperatures.fit(fitted, labels, names(2))
    logits, labels = drawn(4_000, 2, scale=4.0, seed=1)
    found = calibration_of(logits, labels, names(2), temperatures)
    for values in (*found["emotions"].values(), found["average"]):
        assert values["ece"] > 0.1
        assert values["ece_calibrated"] < 0.03
    assert found["average"]["ece"] == pytest.approx(
        np.mean([values["ece"] for values in found["emotions"].values()])
    )
    assert found["fitted"] == {"split": "valid", "clips": 4_000, "notes": {}}
    for place, values in enumerate(found["emotions"].values()):
        for key, probabilities in (
            ("ece", logits.sigmoid()),
            ("ece_calibrated", temperatures.probabilities(logits)),
        ):
            wanted = brute_force(probabilities[:, place].tolist(), labels[:, place].tolist())
            assert values[key] == pytest.approx(wanted, abs=1e-12)
        for key in ("reliability", "reliability_calibrated"):
            assert sum(row["clips"] for row in values[key]) == 4_000


def test_decisions_at_one_half_and_the_order_stay():
    logits, labels = drawn(200, 4, scale=3.0)
    logits[0] = 0
    probabilities = Temperatures.fit(logits, labels, names(4)).probabilities(logits)
    assert torch.equal(probabilities > 0.5, logits.sigmoid() > 0.5)
    assert torch.equal(probabilities.argsort(dim=0), logits.argsort(dim=0))


@pytest.mark.parametrize(
    ("logits", "labels", "wanted", "note"),
    [
        ([-3.0, -1.0, 2.0], [0, 0, 0], 1.0, "none of the clips have the emotion"),
        ([-3.0, -1.0, 2.0], [1, 1, 1], 1.0, "all of the clips have the emotion"),
        ([2.0], [1], 1.0, "all of the clips have the emotion"),
        ([0.0, 0.0], [0, 1], 1.0, "all logits are 0"),
        ([-1.0, -2.0, 1.0], [0, 0, 1], LOWEST, "sharper is better still"),
        ([-1e30, -2e30, 1e30], [0, 0, 1], LOWEST, "sharper is better still"),
        ([1.0, 2.0, -1.0], [0, 0, 1], HIGHEST, "flatter is better still"),
        ([1e30, 2e30, -1e30], [0, 0, 1], HIGHEST, "flatter is better still"),
    ],
)
def test_no_minimum_gives_a_finite_temperature_and_says_why(logits, labels, wanted, note):
    logits, labels = torch.tensor(logits)[:, None], torch.tensor(labels)[:, None].float()
    found = Temperatures.fit(logits, labels, ["sad"])
    assert found.values["sad"] == wanted
    assert note in found.notes["sad"]
    described = calibration_of(logits, labels, ["sad"], found)
    assert described["fitted"]["notes"] == found.notes
    assert math.isfinite(described["average"]["ece_calibrated"])


def test_without_temperatures_nothing_is_calibrated():
    logits, labels = drawn(20, 1)
    found = calibration_of(logits, labels, ["sad"], None)
    assert set(found) == {"bins", "emotions", "average"}
    assert set(found["emotions"]["sad"]) == {"ece", "reliability"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_what_is_not_finite(value):
    logits, labels = drawn(5, 2)
    logits[3, 1] = value
    for refused in (
        lambda: Temperatures.fit(logits, labels, names(2)),
        lambda: calibration_of(logits, labels, names(2), None),
        lambda: Reliability.of(logits, labels),
    ):
        with pytest.raises(ValueError, match="wanted finite logits"):
            refused()


def test_refuses_no_clips_and_other_shapes():
    none, labels = torch.zeros(0, 2), torch.zeros(0, 2)
    with pytest.raises(ValueError, match="wanted clips, got none"):
        Temperatures.fit(none, labels, names(2))
    with pytest.raises(ValueError, match="wanted clips, got none"):
        calibration_of(none, labels, names(2), None)
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(3, 1\)"):
        Temperatures.fit(torch.zeros(3, 2), torch.zeros(3, 1), names(2))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return RunFolder(tmp_path)


def test_reads_what_was_written_for_the_same_weights(folder):
    logits, labels = drawn(50, 2)
    labels[:, 1] = 0
    temperatures = Temperatures.fit(logits, labels, ["angry", "sad"])
    assert Temperatures.read(folder, "", ["angry", "sad"]) is None
    temperatures.write(folder)
    weights = sha256(folder.best)
    assert Temperatures.read(folder, weights, ["angry", "sad"]) == temperatures
    assert Temperatures.read(folder, "0" * 64, ["angry", "sad"]) is None


def test_refuses_other_emotions(folder):
    Temperatures.fit(*drawn(50, 1), ["angry"]).write(folder)
    with pytest.raises(ValueError, match="wanted temperatures of angry, sad, got angry; delete"):
        Temperatures.read(folder, sha256(folder.best), ["angry", "sad"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperatures": {"angry": 1.0, "sad": 0.0}}, "temperatures.json"),
        ({"temperatures": {"angry": 1.0, "sad": math.inf}}, "temperatures.json"),
        ({"clips": -1}, "temperatures.json"),
        ({"notes": None}, "temperatures.json"),
        ({"weights": "0" * 64}, "temperatures.json: is not as it was written"),
        ({"temperatures": {"angry": 1.0, "sad": 3.0}}, "not as it was written.*delete it"),
    ],
)
def test_refuses_a_damaged_file(folder, changes, message):
    Temperatures.fit(*drawn(50, 2), ["angry", "sad"]).write(folder)
    values = json.loads(folder.temperatures.read_text())
    folder.temperatures.write_text(json.dumps(values | changes))
    with pytest.raises(ValueError, match=message):
        Temperatures.read(folder, values["weights"], ["angry", "sad"])
