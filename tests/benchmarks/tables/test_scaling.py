"""The words and tables of 1,000 hours."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.tables import amounts, scaling


def row(name: str, nodes: int, seconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "nodes": nodes,
        "units": 100,
        "seconds": seconds,
        "seconds_90": [seconds - 60, seconds + 60],
        "efficiency": 0.5,
        "terms": {
            "head before": 100.0,
            "work over all cores": 18_000 / nodes,
            "files over all cores": 2_000 / nodes,
            "head after": 900.0,
        },
    }


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    rows = [row("as assumed", nodes, 6000 / nodes) for nodes in (10, 100)]
    rows += [row(f"{size:g} min", 100, 600 * (1 + abs(size - 5))) for size in (60.0, 5.0, 2.0)]
    found: dict[str, Any] = {"rows": rows}
    for module in (scaling, amounts):
        monkeypatch.setattr(module, "results", lambda _: found)
    return found


def test_the_knee_is_where_workers_take_as_long_as_the_head(content: dict[str, Any]) -> None:
    assert scaling.knee() == "20 machines"
    assert scaling.head() == "100 seconds before, 900 after"


def test_the_part_that_takes_longest_is_marked(content: dict[str, Any]) -> None:
    lines = {line.split(" | ")[0].strip("| "): line for line in scaling.shares().splitlines()}
    assert lines["work over all cores"] == "| work over all cores | **1,800** | 180 |"
    assert lines["head after"] == "| head after | 900 | **900** |"
    assert lines["simulated, all together"] == "| simulated, all together | 600 | 60 |"


def test_sizes_stand_in_their_order_and_the_best_is_named(content: dict[str, Any]) -> None:
    lines = scaling.sizes().splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| 2 min", "| 5 min", "| 60 min"]
    assert lines[1] == "| 5 min | 100 | 10.0 (9.0–11.0), 50 % |"
    assert scaling.best_size() == "5 minutes on 100 machines"
