"""Results are taken up again where they stopped, unless they are of something else."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.gpu.results import Results

MACHINE = {"name": "a GPU"}


def made(path: Path) -> Results:
    results = Results(path, MACHINE, "abc")
    results.add("good", {"ratio": 2.0, "what": "x"}, {"ratio": 1.5, "host_us": 3.0})
    results.add("bad", {"what": "first half"}, {})
    results.add("bad", {"error": "died"}, {})
    return results


def test_every_row_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    made(path)
    kept = json.loads(path.read_text())
    assert kept["machine"] == MACHINE
    good = {"row": "good", "ratio": 2.0, "what": "x", "goals": {"ratio": 1.5}}
    assert kept["rows"] == [good, *kept["rows"][1:]]


def test_rows_of_the_same_sources_are_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    made(path)
    again = Results(path, MACHINE, "abc")
    assert again.has("good")
    assert again.has("bad")  # an error stays
    assert not again.has("goo")
    assert not Results(path, MACHINE, "abc", again=True).has("bad")


def test_results_of_other_sources_are_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    made(path)
    assert Results(path, MACHINE, "def").rows == []
    assert len(json.loads((tmp_path / "bench-abc.json").read_text())["rows"]) == 3
    assert Results(path, {"name": "another"}, "abc").rows == []
