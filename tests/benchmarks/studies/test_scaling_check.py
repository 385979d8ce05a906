"""Real runs beside the simulation: the times that are compared."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.studies.scaling_check import compared, on_idle_cores, predict

CONTENT: dict[str, Any] = {
    "machine": {"cores": 2},
    "units": [{"clips": 1, "cpu_s_alone": 3.0}] * 4,
    "together": {
        "2": {"crowding": 0.75, "start_cpu_s": 2.0, "head_cpu_s": 0.5},
        "4": {"crowding": 0.6, "start_cpu_s": 3.0, "head_cpu_s": 1.0},
    },
    "before_cpu_s": 5.0,
    "dispatch_cpu_s": 0.0,
    "after_cpu_s": 2.0,
}


def test_processes_share_idle_cores() -> None:
    assert on_idle_cores(5.0, [], 2) == 5.0
    assert on_idle_cores(5.0, [10.0, 12.0], 2) == 17.0
    # Four at half speed until each has 4, then one alone.
    assert on_idle_cores(0.0, [4.0, 4.0, 4.0, 6.0], 2) == pytest.approx(10.0)


def test_a_prediction_is_made_of_what_was_measured_apart() -> None:
    assert predict(CONTENT, 1, 2) == pytest.approx(5 + 4 * 3 + 2)
    # Beside a busy core a start takes 2, as it was measured there, and a unit 4.
    assert predict(CONTENT, 2, 2) == pytest.approx(5.5 + 2 + 2 * 4 + 2)
    # Two processes to a core: all take twice as long, and more by what was measured of four.
    assert predict(CONTENT, 4, 2) == pytest.approx(6 + 2 * 3 + 2 * 5 + 2)
    # With one core left to it, it takes twice as long.
    assert predict(CONTENT, 2, 1) == pytest.approx(5.5 + 4 + 16 + 2)
    assert predict(CONTENT, 1, 0.5) == pytest.approx(2 * (5 + 12 + 2))


def test_each_run_is_compared_on_what_others_left_of_the_machine() -> None:
    run = {
        "workers": 2,
        "others_cores": 1.0,
        "head_cpu_s": 7.0,
        "workers_cpu_s": [9.0, 10.0],
        "wall_s": 28.0,
    }
    (row,) = compared({**CONTENT, "runs": [run]})
    assert row["predicted_s"] == pytest.approx(27.5)
    assert (row["idle_s"], row["predicted_idle_s"]) == pytest.approx((17, 17.5))
