"""From rates to a cluster, its units, and a preparation of two phases."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.scaling.cluster import Cluster, Unit
from benchmarks.scaling.preparing import (
    Assumed,
    Measured,
    cluster_of,
    files_of,
    per_clip_and_second,
    prepared,
    terms,
)
from benchmarks.scaling.work import Spread

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
            "head_cpu_s": 0.005,
            "files_cpu_s": 0.02 + 0.001 * seconds,
        }
        for seconds in (20.0, 60.0)
    ],
}


def test_rates_are_of_an_hour_or_a_clip() -> None:
    found = Measured.read(RATES)
    assert found.core_s == pytest.approx(2.4 / 20 * 3600)
    assert found.write == pytest.approx(10_000 / 20 * 3600)
    assert found.listing_s == pytest.approx(0.002)
    assert found.assembly_clip_s == pytest.approx(0.0005)
    assert found.file_clip_s == pytest.approx(0.002)
    assert found.file_s == pytest.approx(3.6)


def test_an_assembly_that_was_disturbed_is_refused() -> None:
    short, long = RATES["assembly"]
    disturbed = [short | {"files_cpu_s": 9.0}, long]
    with pytest.raises(ValueError, match="files cost"):
        per_clip_and_second(disturbed)


def test_machines_are_given_what_was_measured_and_assumed() -> None:
    assumed = Assumed(hours=1.0, clip_s=3.6)
    cluster = cluster_of(10, Measured.read(RATES), assumed)
    assert cluster.before == pytest.approx(5 + 1000 * 0.002)
    assert cluster.after == pytest.approx(1000 * 0.0005)
    files = files_of(Measured.read(RATES), assumed)
    assert len(files) == 2  # of 512 clips
    assert sum(file.seconds for file in files) == pytest.approx(1000 * 0.002 + 3.6)
    assert sum(file.write for file in files) == pytest.approx(10_000 / 20 * 3600)
    assert cluster.node_mtbf == 24 * 3600


def test_workers_write_the_files_after_the_last_part_or_the_head_does() -> None:
    cluster = Cluster(nodes=2, cores=2, before=10.0, start=5.0, after=1.0)
    units, files = [Unit(1.0, 8.0)] * 8, [Unit(1.0, 3.0)] * 6
    run = prepared(units, files, cluster, seed=0)
    # Two rounds of units, two of files; workers start once.
    assert run.seconds == pytest.approx(10 + 5 + 2 * 8 + 2 * 3 + 1)
    assert run.useful == pytest.approx(64 + 18)
    assert run.efficiency == pytest.approx(82 / (38 * 4))
    alone = prepared(units, files, cluster, seed=0, alone=True)
    assert alone.seconds == pytest.approx(10 + 5 + 2 * 8 + 6 * 3 + 1)
    assert terms(units, files, cluster)["files over all cores"] == pytest.approx(18 / 4)
    assert terms(units, files, cluster, alone=True)["head after"] == pytest.approx(19)


def test_spread_keeps_sizes_and_times_together() -> None:
    first, second = Spread.of(RATES["units"]).pairs
    assert first == pytest.approx((0.8, 1 / 1.2))
    assert second == pytest.approx((1.2, 1.4 / 1.2))
