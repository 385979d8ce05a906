"""The comparison with real runs."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.tables import scaling_check


def test_errors_are_of_the_simulation_over_the_real_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(idle: float, predicted: float) -> dict[str, Any]:
        return {
            "workers": 2,
            "idle_s": idle,
            "predicted_idle_s": predicted,
            "wall_s": 100.0,
            "predicted_s": 90.0,
            "others_cores": 1.5,
        }

    runs = [run(10.0, 11.0), run(10.0, 12.0), run(10.0, 9.0)]
    monkeypatch.setattr(scaling_check, "results", lambda _: {"runs": runs})
    assert scaling_check.check().splitlines()[2] == (
        "| 2 | 3 | 10.0 | 11.0 | +10 % (-10 to +20) | 100.0 | 90.0 | -10 % (-10 to -10) | 1.5 |"
    )
