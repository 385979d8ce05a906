from __future__ import annotations

import json
from pathlib import Path

from benchmarks.measure import compare
from benchmarks.report import aligned, table, write_json

ROW = {
    "group": "block inference",
    "rival": "dense",
    "shape": "64→128 @ 24x24",
    "p": 0.5,
    "density": 0.497,
    "flops": 2_000_000_000,
    "dense_flops": 8_000_000_000,
}


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


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "b"), ("long", "")]) == ["a     b", "long"]


def test_results_are_written_beside_and_renamed(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "r.json", {"rows": [ROW]})
    assert json.loads((tmp_path / "new" / "r.json").read_text()) == {"rows": [ROW]}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["r.json"]
