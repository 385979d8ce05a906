from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.measure import (
    LATE_ROUNDS,
    MAX_ROUNDS,
    MIN_ROUNDS,
    Clock,
    compare,
    count_flops,
    peak_memory,
)
from benchmarks.report import machine, table, write_json

ROW = {
    "group": "block inference",
    "rival": "dense",
    "shape": "64→128 @ 24x24",
    "p": 0.5,
    "density": 0.497,
    "flops": 2_000_000_000,
    "dense_flops": 8_000_000_000,
}


def test_compare_by_hand() -> None:
    found = compare([0.010, 0.010, 0.020], [0.030, 0.030, 0.030])
    assert found["ms"] == pytest.approx(10)
    assert found["rival_ms"] == pytest.approx(30)
    assert found["ratio"] == pytest.approx(3)
    assert found["ratio_quartiles"] == pytest.approx([1.5, 3])
    assert found["rival_spread"] == pytest.approx(0)
    assert found["rounds"] == 3


def test_clock_keeps_the_budget() -> None:
    assert Clock(budget=100, row_seconds=1.0).rounds(0.05) == 20
    assert Clock(budget=100, row_seconds=1.0).rounds(0.05, weight=2) == 40
    assert Clock(budget=100, row_seconds=1.0).rounds(10.0) == MIN_ROUNDS
    assert Clock(budget=100, row_seconds=1.0).rounds(1e-6) == MAX_ROUNDS
    assert Clock(budget=0, row_seconds=1.0).rounds(0.01) == LATE_ROUNDS


def test_a_dense_convolution_has_two_flops_per_multiply_accumulate() -> None:
    maps, weight = torch.ones(2, 3, 8, 8), torch.ones(5, 3, 3, 3)
    assert count_flops(lambda: F.conv2d(maps, weight, padding=1)) == 2 * 2 * 64 * 9 * 3 * 5


def test_peak_memory_sees_what_a_run_touches_and_frees() -> None:
    peak = peak_memory(lambda: torch.ones(64 * 2**18).sum())
    if sys.platform == "linux":
        assert peak is not None
        assert 60 < peak < 90
    else:
        assert peak is None


def test_table_shows_ratios_below_one_and_rows_without_a_ratio() -> None:
    timed = {**ROW, **compare([0.02] * 3, [0.01] * 3)}
    lines = table([timed, {**ROW, "error": "red gate: value is off"}])
    assert "0.50" in lines[-2].split()
    assert "0.250" in lines[-2].split()
    assert "100/800" in lines[-2].split()
    assert lines[-1].endswith("no ratio, red gate: value is off")


def test_table_names_the_rival_and_gives_its_own_rate() -> None:
    other = {"rival": "another", "rival_flops": 1_000_000_000}
    line = table([{**ROW, **other, **compare([0.02] * 3, [0.04] * 3)}])[-1]
    assert "another" in line
    assert "100/25" in line.split()
    assert "2.00" in line.split()


def test_results_name_the_machine(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "r.json", {"machine": machine(2), "rows": [ROW]})
    kept = json.loads((tmp_path / "new" / "r.json").read_text())
    assert kept["rows"] == [ROW]
    assert kept["machine"]["threads"] == 2
    assert {"device", "cpu", "torch", "mesm_ops", "git_commit", "date"} <= kept["machine"].keys()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["r.json"]
