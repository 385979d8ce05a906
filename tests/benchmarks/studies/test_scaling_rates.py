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


def test_the_assembly_alone_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results, asked = tmp_path / "rates.json", []

    def measured(layout: str, parts: Path, times_longer: int) -> dict[str, float]:
        asked.append((layout, parts.name, times_longer))
        return {"clips": 48.0, "seconds": 96.0 * times_longer}

    monkeypatch.setattr(scaling_rates, "measure_units", lambda *given: [])
    monkeypatch.setattr(scaling_rates, "measure_assembly", measured)
    results.write_text(json.dumps({"units": ["kept"], "assembly": ["old"], "load_after": 0.0}))
    words = ["--only", "assembly", "--raw", str(tmp_path), "--results", str(results)]
    monkeypatch.setattr(sys, "argv", ["scaling_rates", *words])
    scaling_rates.main()
    found: dict[str, Any] = json.loads(results.read_text())
    assert found["units"] == ["kept"]
    assert [one["seconds"] for one in found["assembly"]] == [96.0, 288.0]
    assert asked == [("iemocap", "parts", 1), ("iemocap", "parts", 3)]
