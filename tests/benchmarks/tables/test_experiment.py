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
        # A tenth of IEMOCAP and a hundredth of the others.
        name: {
            "pictures": "4x3",
            "minutes": minutes[name] / share,
            "prepare_cpu_s": 7200.0,
            "units_cpu_s": 3600.0,
            "prepared_bytes": 10**9,
        }
        for name, share in {**dict.fromkeys(minutes, 100), "iemocap": 10}.items()
    }
    seconds = {"fe2e": 7200 / minutes["iemocap"], "mesm": 3600 / minutes["iemocap"]}
    training = {name: {"epoch_cpu_s_per_minute": s, "run_bytes": 5} for name, s in seconds.items()}
    measured = {"corpora": corpora, "training": training}
    gpu = {"row": "eager MESM training step 8 clips p=0.5 bfloat16", "ms": 80.0, "rival_ms": 40.0}
    measured["rows"] = [gpu]
    monkeypatch.setattr(experiment, "results", lambda _: measured)
    first, second, *others = experiment.cost().splitlines()[2:]
    assert first.endswith("| 5 / 0.62 (4x3) | 10.0 GB | 1 / 0.12 | 0.5 / 0.062 | 0.47 / 0.94 |")
    epoch = 2 * minutes["mosei"] / minutes["iemocap"]
    assert f"| 50 / 6.2 (4x3) | 100.0 GB | {epoch / 2:.2g} / {epoch / 16:.2g} |" in second
    assert experiment.gpu_seconds_per_minute() == (0.05, 0.1)
    assert [line.split(",")[0] for line in others] == ["| MELD", "| RAVDESS", "| CREMA-D"]
    assert ", 1440 clips, 1.5 h |" in others[1]
    assert experiment.prepare().startswith("`prepare` without the command's own start")
    del corpora["meld"]["units_cpu_s"]
    assert experiment.prepare_seconds(corpora["meld"]) == 7200
    assert experiment.prepare().endswith("so that its hours are too high")


def test_backends_are_those_of_the_library() -> None:
    lines = {line.split(" | ")[0].strip("| `"): line.split(" | ") for line in ops().splitlines()}
    assert lines["top_p_select"][2] == "forward, backward"
    assert lines["subm_conv2d"][2] == "–"
    assert "float64" in lines["dtypes"][1]
    assert "float64" not in lines["dtypes"][2]
    assert "float16" in lines["dtypes"][3]
