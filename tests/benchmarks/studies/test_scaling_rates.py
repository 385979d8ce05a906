"""Rates of units, and what the command keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scaling.measure import Measured
from benchmarks.studies import scaling_rates
from benchmarks.studies.scaling_rates import slower_together


def test_a_core_beside_a_busy_one_is_at_most_as_fast() -> None:
    units = costing(1.0, 2.0, 3.0)
    assert slower_together(units, costing(1.25, 2.5, 3.75)) == pytest.approx(0.8)
    assert slower_together(units, costing(0.5, 1.0, 1.5)) == 1.0


def costing(*seconds: float) -> list[Measured]:
    return [Measured(1, 1.0, 1.0, one, 1, 1) for one in seconds]


def test_what_stands_around_the_units_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results, longer = tmp_path / "rates.json", []

    def measured(layout: str, parts: Path, times_longer: int) -> dict[str, float]:
        longer.append(times_longer)
        return {"clips": 48.0, "seconds": 96.0 * times_longer}

    units = [Measured(8, 1.0, 1.0, 9.0, 1, 500)]
    monkeypatch.setattr(scaling_rates, "measure_units", lambda *given: units)
    monkeypatch.setattr(scaling_rates, "measure_listing", lambda *given: 0.25)
    monkeypatch.setattr(scaling_rates, "measure_assembly", measured)
    before = {"units": [{"clips": 8, "cpu_s": 2.0, "write": 700}], "listing_cpu_s": 0.5, "pool": 1}
    results.write_text(json.dumps(before))
    words = ["--only", "around", "--raw", str(tmp_path), "--results", str(results)]
    monkeypatch.setattr(sys, "argv", ["scaling_rates", *words])
    scaling_rates.main()
    found: dict[str, Any] = json.loads(results.read_text())
    assert found["units"] == [{"clips": 8, "cpu_s": 2.0, "write": 500}]
    assert (found["listing_cpu_s"], found["pool"]) == (0.25, 1)
    assert [one["seconds"] for one in found["assembly"]] == [96.0, 288.0]
    assert longer == [1, 3]
    assert found["around"]["load_after"] >= 0
    units[0] = Measured(7, 1.0, 1.0, 9.0, 1, 500)
    with pytest.raises(ValueError, match="is not the corpus"):
        scaling_rates.main()
