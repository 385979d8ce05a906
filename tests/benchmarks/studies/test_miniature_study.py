"""The study's summary of the figures of its seeds."""

import copy
from typing import Any

import pytest

from benchmarks.studies.miniature_study import RUNS, spread, summarise


def seed_figures(
    fe2e: float, mesm: float, alone: float, flops: float, ratio: float
) -> dict[str, Any]:
    f1 = {"fe2e": fe2e, "mesm": mesm, "fe2e_t": alone, "fe2e_a": alone - 0.1, "fe2e_v": alone}
    rate = {"sites": {"ratio": ratio}}
    places = {"blocks": [rate, rate, rate], "final": rate}
    return {
        "runs": {name: {"average": {"f1": value}} for name, value in f1.items()},
        "flops_per_clip": {"fe2e": {"total": 10.0}, "mesm": {"total": 10.0 * flops}},
        "latency_ms_per_clip": {"fe2e": 30.0, "mesm": 20.0},
        "attention": {"face": places, "audio": copy.deepcopy(places)},
    }


def test_means_and_deviations() -> None:
    summary = summarise(
        [seed_figures(0.70, 0.69, 0.5, 0.5, 2.5), seed_figures(0.80, 0.81, 0.6, 0.6, 2.1)]
    )
    assert summary["f1"]["fe2e"]["mean"] == pytest.approx(0.75)
    assert summary["f1"]["fe2e"]["deviation"] == pytest.approx(0.0707, abs=1e-4)
    assert summary["mesm_minus_fe2e_f1"]["values"] == pytest.approx([-0.01, 0.01])
    assert summary["flops_ratio"]["mean"] == pytest.approx(0.55)
    assert summary["speed_up"]["mean"] == pytest.approx(1.5)
    assert summary["attention_ratio"]["face"]["final"]["mean"] == pytest.approx(2.3)
    assert all(summary["holds"].values())


@pytest.mark.parametrize(
    ("figures", "broken"),
    [
        ((0.70, 0.65, 0.5, 0.5, 2.5), "mesm_within_2_points_of_fe2e"),
        ((0.59, 0.61, 0.5, 0.5, 2.5), "both_at_least_0.60"),
        ((0.70, 0.69, 0.5, 0.61, 2.5), "at_most_60_percent_of_the_flops"),
        ((0.70, 0.69, 0.695, 0.5, 2.5), "three_modalities_better_than_any_one"),
        ((0.70, 0.69, 0.5, 0.5, 1.9), "kept_face_pixels_twice_as_often_as_chance"),
    ],
)
def test_each_promise_can_break(figures: tuple[float, ...], broken: str) -> None:
    holds = summarise([seed_figures(*figures)])["holds"]
    assert [name for name, kept in holds.items() if not kept] == [broken]


def test_one_seed_has_no_deviation() -> None:
    assert spread([0.5]) == {"mean": 0.5, "deviation": None, "values": [0.5]}


def test_runs_are_all_three_modalities_twice_and_each_one_alone() -> None:
    assert set(RUNS) == {"fe2e", "mesm", "fe2e_t", "fe2e_a", "fe2e_v"}
