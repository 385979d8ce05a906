"""The curve of the study's results is drawn of what they hold."""

import json
from typing import Any

import pytest

from benchmarks.studies.miniature_pictures import RUN, draw_curve
from benchmarks.studies.miniature_study import RESULTS
from mesm.experiment.grid import load_experiment
from mesm.experiment.plan import expand


def row(name: str, seed: int, f1: float, curve: list[dict[str, float]] | None) -> dict[str, Any]:
    return {
        "row": name,
        "corpus_seed": 1,
        "seed": seed,
        "f1": f1,
        "flops": {"fe2e": 10.0},
        "p_curve": curve,
    }


def points(*f1: float) -> list[dict[str, float]]:
    return [{"p": p, "f1": value, "flops": 10 * p} for p, value in zip((0.5, 1), f1, strict=True)]


def test_a_line_per_run_their_mean_and_fe2e() -> None:
    results = {
        "rows": [
            row("fe2e", 0, 0.9, None),
            row("fe2e", 1, 0.8, None),
            row("fe2e", 2, 0.1, None),  # of a run that has no curve
            row("mesm", 0, 0.88, points(0.88, 0.9)),
            row("mesm", 1, 0.84, points(0.84, 0.86)),
            row("mesm attention_learning_rate_factor=1.0", 0, 0.5, points(0.5, 0.6)),
        ]
    }
    above, below = draw_curve(results).axes
    f1 = [[float(value) for value in line.get_ydata()] for line in above.lines]
    assert f1 == [pytest.approx(values) for values in ([88, 90], [84, 86], [86, 88], [85, 85])]
    assert [float(value) for value in below.lines[2].get_ydata()] == pytest.approx([50, 100])


def test_results_without_a_curve_are_refused() -> None:
    with pytest.raises(ValueError, match="no p-curve"):
        draw_curve({"rows": [row("mesm", 0, 0.88, None)]})


def test_the_shipped_results_can_be_drawn() -> None:
    assert draw_curve(json.loads(RESULTS.read_text())).axes


def test_the_study_trains_the_run_that_is_explained() -> None:
    assert RUN.rpartition("/")[2] in {cell.name for cell in expand(load_experiment("study"))}
