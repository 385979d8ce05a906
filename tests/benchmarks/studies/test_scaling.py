"""From rates to scenarios, and their picture."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from benchmarks.scaling import measure
from benchmarks.scaling.work import Spread
from benchmarks.studies import scaling
from benchmarks.studies.scaling import Assumed, Measured, per_clip_and_second
from benchmarks.studies.scaling_rates import slower_together

RATES: dict[str, Any] = {
    "units": [
        {"clips": 4, "seconds": 8.0, "cpu_s": 1.0, "write": 4000},
        {"clips": 6, "seconds": 12.0, "cpu_s": 1.4, "write": 6000},
    ],
    "pool": {"start_cpu_s": 5.0, "head_cpu_s": 0.001},
    "listing_cpu_s": 0.01,
    # 2 ms a clip and 1 ms a second of it.
    "assembly": [
        {
            "clips": 10,
            "seconds": seconds,
            "collect_cpu_s": 0.02,
            "assemble_cpu_s": 0.001 * seconds,
            "hash_cpu_s": 0.0,
        }
        for seconds in (20.0, 60.0)
    ],
}


def test_rates_are_of_an_hour_or_a_clip() -> None:
    found = Measured.read(RATES)
    assert found.core_s == pytest.approx(2.4 / 20 * 3600)
    assert found.write == pytest.approx(10_000 / 20 * 3600)
    assert found.listing_s == pytest.approx(0.002)
    assert found.assembly_clip_s == pytest.approx(0.002)
    assert found.assembly_s == pytest.approx(3.6)


def test_an_assembly_that_was_disturbed_is_refused() -> None:
    short, long = RATES["assembly"]
    disturbed = [short | {"assemble_cpu_s": 9.0}, long]
    with pytest.raises(ValueError, match="assembly costs"):
        per_clip_and_second(disturbed)


def test_machines_are_given_what_was_measured_and_assumed() -> None:
    assumed = Assumed(hours=1.0, clip_s=3.6)
    cluster = scaling.cluster_of(10, Measured.read(RATES), assumed)
    assert cluster.before == pytest.approx(5 + 1000 * 0.002)
    assert cluster.after == pytest.approx(1000 * 0.002 + 3.6)
    assert cluster.node_mtbf == 24 * 3600


def test_no_part_alone_takes_longer_than_the_simulation_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scaling, "NODES", (1, 2, 8))
    monkeypatch.setattr(scaling, "SIZED_NODES", (2, 8))
    measured, assumed = Measured.read(RATES), Assumed(hours=20.0, cores=4)
    rows = scaling.run_all(measured, assumed, seeds=2)
    names = {row["name"] for row in rows}
    assert {scaling.CALM, scaling.PLAIN, scaling.TWICE, scaling.APART, "2 min", "5 min"} <= names
    for row in rows:
        slack = row["terms"]["storage"] * 0.01
        assert row["seconds"] >= max(row["terms"].values()) - slack, row["name"]
        assert row["seconds_90"][0] <= row["seconds"] <= row["seconds_90"][1]
    for nodes in scaling.NODES:
        own = {row["name"]: row for row in rows if row["nodes"] == nodes}
        saved = own[scaling.TWICE]["seconds"] - own[scaling.APART]["seconds"]
        assert saved == pytest.approx(own[scaling.TWICE]["terms"]["head after"])
    figure = scaling.draw({"rows": rows})
    assert len(figure.axes) == 2


def test_nothing_fails_where_nothing_is_to_fail() -> None:
    found = scaling.scenarios(Measured.read(RATES), Assumed())
    calm = [one for one in found if scaling.CALM in one.names]
    assert len(calm) == len(scaling.NODES)
    assert {(one.cluster.node_mtbf, one.cluster.slow_share) for one in calm} == {(inf, 0.0)}


def test_the_grid_gets_no_faster_than_its_longest_training() -> None:
    found = scaling.grid(100.0, Assumed(node_mtbf_h=1e9), seeds=1)
    hours = {row["gpus"]: row["seconds"] for row in found["rows"]}
    training = 100.0 * found["epochs"]
    assert hours[1] == pytest.approx(training * found["cells"])
    assert hours[64] == pytest.approx(training)


def test_a_core_beside_a_busy_one_is_at_most_as_fast() -> None:
    units = costing(1.0, 2.0, 3.0)
    assert slower_together(units, costing(1.25, 2.5, 3.75)) == pytest.approx(0.8)
    assert slower_together(units, costing(0.5, 1.0, 1.5)) == 1.0


def costing(*seconds: float) -> list[measure.Measured]:
    return [measure.Measured(1, 1.0, 1.0, one, 1, 1) for one in seconds]


def test_spread_keeps_sizes_and_times_together() -> None:
    first, second = Spread.of(RATES["units"]).pairs
    assert first == pytest.approx((0.8, 1 / 1.2))
    assert second == pytest.approx((1.2, 1.4 / 1.2))
