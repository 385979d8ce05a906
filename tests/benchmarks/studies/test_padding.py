"""The fillings of a last chunk, and how they are compared."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.studies.padding import FILLS, SEEDS, SYSTEMS, filled, summarise
from mesm.data import clips

MEAN, STD = -8.0, 3.0


def test_the_fillings_differ_in_the_padding_alone() -> None:
    spectrogram = np.random.default_rng(0).normal(MEAN, STD, (128, 40)).astype(np.float32)
    found = {name: fill(spectrogram, MEAN, STD) for name, fill in FILLS.items()}
    assert found["mean"].shape == found["silence"].shape == (2, 1, 128, 32)
    assert (found["mean"][-1, ..., :8] == found["silence"][-1, ..., :8]).all()
    assert (found["mean"][-1, ..., 8:] == 0).all()
    level = (np.log(1e-10) - MEAN) / STD
    np.testing.assert_allclose(found["silence"][-1, ..., 8:], level, rtol=1e-6)
    whole = spectrogram[:, :32]
    assert (FILLS["silence"](whole, MEAN, STD) == FILLS["mean"](whole, MEAN, STD)).all()


def test_what_is_exchanged_is_put_back() -> None:
    ours = clips.chunk
    with filled("silence"):
        assert clips.chunk is FILLS["silence"]
    assert clips.chunk is ours


def test_a_filling_is_compared_seed_by_seed() -> None:
    rows = [
        {"system": system, "fill": fill, "seed": seed, "f1": 0.5 + 0.1 * seed + 0.02 * place}
        for system in SYSTEMS
        for place, fill in enumerate(FILLS)
        for seed in SEEDS
    ]
    summary = summarise(rows)
    assert summary["mesm"]["silence"]["above_mean"] == pytest.approx(0.02)
    assert summary["mesm"]["silence"]["deviation"] == pytest.approx(0, abs=1e-9)
    assert summary["fe2e"]["mean"]["above_mean"] == 0
