"""The scaled costs of an experiment."""

from __future__ import annotations

import pytest

from benchmarks.tables import experiment
from benchmarks.tables.backends import ops


def test_corpora_have_the_clips_and_the_hours_of_the_paper() -> None:
    found = experiment.clips_and_minutes()
    assert found["iemocap"][0] == 7380
    assert found["iemocap"][1] / 60 == pytest.approx(9.4, abs=0.2)
    assert found["mosei"][0] == 20477
    assert found["mosei"][1] / 60 == pytest.approx(47, abs=2)


def test_costs_are_scaled_by_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = {name: minutes for name, (_, minutes) in experiment.clips_and_minutes().items()}
    corpora = {
        # A tenth of IEMOCAP and a hundredth of CMU-MOSEI.
        name: {
            "pictures": "4x3",
            "minutes": minutes[name] / share,
            "prepare_cpu_s": 3600.0,
            "prepared_bytes": 10**9,
        }
        for name, share in (("iemocap", 10), ("mosei", 100))
    }
    seconds = {"fe2e": 7200 / minutes["iemocap"], "mesm": 3600 / minutes["iemocap"]}
    training = {name: {"epoch_cpu_s_per_minute": s, "run_bytes": 5} for name, s in seconds.items()}
    measured = {"corpora": corpora, "training": training}
    monkeypatch.setattr(experiment, "results", lambda _: measured)
    first, second = experiment.cost().splitlines()[2:]
    assert first.endswith("| 10.0 (4x3) | 10.0 GB | 2.0 | 1.0 |")
    epoch = 2 * minutes["mosei"] / minutes["iemocap"]
    assert second.endswith(f"| 100.0 (4x3) | 100.0 GB | {epoch:.1f} | {epoch / 2:.1f} |")


def test_backends_are_those_of_the_library() -> None:
    lines = {line.split(" | ")[0].strip("| `"): line.split(" | ") for line in ops().splitlines()}
    assert lines["top_p_select"][2] == "forward, backward"
    assert lines["subm_conv2d"][2] == "–"
    assert "float64" in lines["dtypes"][1]
    assert "float64" not in lines["dtypes"][2]
    assert "float16" in lines["dtypes"][3]
