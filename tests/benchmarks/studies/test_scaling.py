"""The scenarios, and their picture."""

from __future__ import annotations

from math import inf

import pytest

from benchmarks.scaling.preparing import Assumed, Measured
from benchmarks.studies import scaling
from tests.benchmarks.scaling.test_preparing import RATES


def test_no_part_alone_takes_longer_than_the_simulation_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scaling, "NODES", (1, 2, 8))
    monkeypatch.setattr(scaling, "SIZED_NODES", (2, 8))
    measured, assumed = Measured.read(RATES), Assumed(hours=20.0, cores=4)
    rows = scaling.run_all(measured, assumed, seeds=2)
    names = {row["name"] for row in rows}
    assert {scaling.CALM, scaling.PLAIN, scaling.TWICE, scaling.ALONE, "2 min", "5 min"} <= names
    for row in rows:
        slack = row["terms"]["storage"] * 0.01
        assert row["seconds"] >= max(row["terms"].values()) - slack, row["name"]
        assert row["seconds_90"][0] <= row["seconds"] <= row["seconds_90"][1]
    for nodes in scaling.NODES:
        own = {row["name"]: row for row in rows if row["nodes"] == nodes}
        assert own[scaling.ALONE]["seconds"] > own[scaling.TWICE]["seconds"]
        assert own[scaling.ALONE]["terms"]["head after"] > own[scaling.TWICE]["terms"]["head after"]
    figure = scaling.draw({"rows": rows})
    assert len(figure.axes) == 2


def test_nothing_fails_where_nothing_is_to_fail() -> None:
    found = scaling.scenarios(Measured.read(RATES), Assumed())
    calm = [one for one in found if one.name == scaling.CALM]
    assert len(calm) == len(scaling.NODES)
    assert {(one.cluster.node_mtbf, one.cluster.slow_share) for one in calm} == {(inf, 0.0)}


def test_the_grid_gets_no_faster_than_its_longest_training() -> None:
    found = scaling.grid(100.0, Assumed(node_mtbf_h=1e9), seeds=1)
    hours = {row["gpus"]: row["seconds"] for row in found["rows"]}
    training = 100.0 * found["epochs"]
    assert hours[1] == pytest.approx(training * found["cells"])
    assert hours[64] == pytest.approx(training)
