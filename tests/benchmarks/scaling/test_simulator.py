"""The simulation against closed forms, and bounds that any schedule keeps."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest

from benchmarks.scaling.cluster import Cluster, Unit
from benchmarks.scaling.simulator import simulate


def equal(count: int, seconds: float = 10.0, **bytes_: float) -> list[Unit]:
    return [Unit(1.0, seconds, **bytes_) for _ in range(count)]


def uneven(count: int, seed: int = 0) -> list[Unit]:
    drawn = random.Random(seed)
    return [
        Unit(size, size * drawn.uniform(0.5, 2)) for size in drawn.choices(range(1, 9), k=count)
    ]


@pytest.mark.parametrize(
    ("count", "nodes", "cores"), [(1, 1, 1), (7, 2, 3), (12, 2, 3), (13, 2, 3)]
)
def test_equal_units_take_as_many_rounds_as_workers_need(
    count: int, nodes: int, cores: int
) -> None:
    found = simulate(equal(count), Cluster(nodes, cores=cores))
    assert found.seconds == pytest.approx(10.0 * math.ceil(count / (nodes * cores)))
    assert found.useful == 10.0 * count
    assert found.efficiency == pytest.approx(found.useful / (found.seconds * nodes * cores))


def test_the_heads_work_before_and_after_and_the_start_are_added() -> None:
    found = simulate(equal(8), Cluster(2, cores=2, before=3.0, start=4.0, after=5.0))
    assert found.seconds == pytest.approx(3 + 4 + 2 * 10 + 5)
    assert found.done == pytest.approx(27)


def test_a_head_that_is_too_slow_sets_the_pace() -> None:
    """Units leave it one by one: n * d, and the last one's work."""
    found = simulate(equal(200, 1.0), Cluster(10, cores=10, dispatch=0.1))
    assert found.seconds == pytest.approx(200 * 0.1 + 1.0)


def test_a_storage_that_is_too_slow_sets_the_pace() -> None:
    units = equal(64, 0.001, read=100.0, write=25.0)
    found = simulate(units, Cluster(4, cores=16, storage=50.0, link=10.0))
    assert found.seconds == pytest.approx(64 * 125 / 50, rel=0.01)
    # With enough for all, each worker's own link is what is slow.
    found = simulate(units, Cluster(4, cores=16, storage=1e9, link=10.0))
    assert found.seconds == pytest.approx(12.5, rel=0.01)
    assert simulate(units, Cluster(4, link=10.0, latency=2.0)).seconds == pytest.approx(14.5, 0.01)


@pytest.mark.parametrize("seed", range(5))
def test_no_schedule_is_better_than_the_bounds_or_worse_than_grahams(seed: int) -> None:
    units, workers = uneven(60, seed), 7
    work, longest = sum(u.seconds for u in units), max(u.seconds for u in units)
    seconds = simulate(units, Cluster(1, cores=workers)).seconds
    assert max(work / workers, longest) <= seconds + 1e-9
    assert seconds <= work / workers + (1 - 1 / workers) * longest + 1e-9


def test_more_workers_than_cores_share_them() -> None:
    units = uneven(40)
    two = simulate(units, Cluster(1, cores=2)).seconds
    four = simulate(units, Cluster(1, cores=2, workers=4)).seconds
    work = sum(unit.seconds for unit in units)
    assert work / 2 <= four
    assert four == pytest.approx(two, rel=0.1)
    # Starts are work of the cores, too.
    idle = [Unit(1, 0.0)] * 4
    assert simulate(idle, Cluster(1, cores=2, workers=4, start=3.0)).seconds == pytest.approx(6)


def test_a_part_of_a_core_is_so_much_slower() -> None:
    found = simulate(equal(4), Cluster(1, cores=0.5, workers=1))
    assert found.seconds == pytest.approx(80)


def test_shared_cores_and_cores_of_ones_own_agree() -> None:
    units = uneven(50)
    plain = Cluster(3, cores=4, slow_share=1 / 3, slow_factor=2.0, node_mtbf=40, restart=5)
    # A crowding this near to 1 goes the other way through the code; there ties end in other orders.
    shared = replace(plain, crowding=1 - 1e-12)
    one, other = (
        [simulate(units, cluster, seed) for seed in range(150)] for cluster in (plain, shared)
    )
    for name, near in (("seconds", 0.04), ("lost", 0.1), ("again", 0.1)):
        mean = fmean(getattr(run, name) for run in one)
        assert mean == pytest.approx(fmean(getattr(run, name) for run in other), rel=near)
        assert mean > 0


@pytest.mark.parametrize("restart", [0.0, 3.0])
def test_a_machine_that_fails_takes_as_long_as_theory_says(restart: float) -> None:
    """A unit of t on a machine of mean life m needs (e^(t/m) - 1)(m + restart) on average."""
    t, mean = 10.0, 8.0
    cluster = Cluster(1, cores=1, node_mtbf=mean, restart=restart)
    found = [simulate(equal(1, t), cluster, seed) for seed in range(4000)]
    again = math.exp(t / mean) - 1
    assert fmean(run.again for run in found) == pytest.approx(again, rel=0.06)
    assert fmean(run.seconds for run in found) == pytest.approx(again * (mean + restart), rel=0.06)
    assert all(run.again == run.nodes_failed for run in found)


def test_workers_that_die_begin_their_units_again() -> None:
    """Each of many units is begun e^(t/m) - 1 times more."""
    units = equal(4000, 2.0)
    found = simulate(units, Cluster(2, cores=2, worker_mtbf=4.0))
    again = (math.exp(0.5) - 1) * len(units)
    assert found.again == pytest.approx(again, rel=0.06)
    assert found.workers_died == found.again
    # Lost is all that the four workers did and was of no use.
    assert found.lost == pytest.approx(4 * found.seconds - found.useful, rel=0.01)


def test_what_is_kept_is_not_done_again() -> None:
    whole = Cluster(1, cores=1, node_mtbf=20.0)
    kept = replace(whole, checkpoint=2.0)
    seconds = {
        cluster: fmean(simulate(equal(1, 40.0), cluster, seed).seconds for seed in range(1500))
        for cluster in (whole, kept)
    }
    assert seconds[whole] == pytest.approx((math.exp(2) - 1) * 20, rel=0.1)
    # Between two marks each: twenty times (e^(2/20) - 1) * 20.
    assert seconds[kept] == pytest.approx(20 * (math.exp(0.1) - 1) * 20, rel=0.05)


def test_slow_machines_do_their_share_of_the_work() -> None:
    """One machine in four takes twice as long: 3.5 machines' work gets done."""
    found = simulate(equal(7000, 1.0), Cluster(4, cores=1, slow_share=0.25, slow_factor=2.0))
    assert found.seconds == pytest.approx(2000, rel=0.01)


def test_a_slow_machines_last_unit_is_begun_elsewhere() -> None:
    cluster = Cluster(4, cores=1, slow_share=0.25, slow_factor=20.0)
    without = simulate(equal(12), cluster)
    assert without.seconds == pytest.approx(200)
    found = simulate(equal(12), replace(cluster, copies=1.5, scan=1.0))
    # At 30 nine units are done on three machines, and one of these has nothing to do.
    assert found.seconds == pytest.approx(40)
    assert found.copies == 1
    assert found.copied == pytest.approx(found.seconds)
    assert found.again == 0


def test_the_head_learns_late_of_a_death() -> None:
    cluster = Cluster(2, cores=1, node_mtbf=30.0, restart=1000.0)
    early, late = (
        fmean(
            simulate(equal(2, 20.0), replace(cluster, detect=detect), seed).seconds
            for seed in range(300)
        )
        for detect in (0.0, 50.0)
    )
    assert late > early + 10


def test_a_seed_gives_the_same_run() -> None:
    units = uneven(80)
    cluster = Cluster(
        3, cores=2, node_mtbf=50, restart=4, slow_share=0.3, slow_factor=3, copies=1.5
    )
    assert simulate(units, cluster, 5) == simulate(units, cluster, 5)
    assert simulate(units, cluster, 5) != simulate(units, cluster, 6)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_and_all_is_accounted_for(seed: int) -> None:
    """Under everything at once the run ends, and workers' seconds do not exceed what there were."""
    cluster = Cluster(
        nodes=3,
        cores=2,
        workers=3,
        crowding=0.9,
        start=1.0,
        dispatch=0.01,
        latency=0.1,
        storage=40.0,
        link=20.0,
        slow_share=0.3,
        slow_factor=3.0,
        copies=1.2,
        scan=1.0,
        node_mtbf=60.0,
        worker_mtbf=60.0,
        detect=2.0,
        restart=5.0,
    )
    units = [replace(unit, read=unit.size, write=1.0) for unit in uneven(60, seed)]
    found = simulate(units, cluster, seed)
    workers = cluster.nodes * cluster.per_node
    assert found.lost + found.copied <= workers * found.done
    assert found.useful / (cluster.nodes * cluster.cores) <= found.done
    assert 0 < found.efficiency < 1


def test_senseless_clusters_are_refused() -> None:
    for changes, words in (
        ({"nodes": 0}, "nodes must be at least 1, got 0"),
        ({"cores": 0}, "cores must be above 0, got 0"),
        ({"node_mtbf": 0.0}, "node_mtbf must be above 0"),
        ({"dispatch": -1.0}, "dispatch must be 0 or more seconds"),
        ({"slow_factor": 0.5}, "slow_factor at least 1"),
        ({"copies": 0.5}, "copies must be at least 1"),
    ):
        given: dict[str, Any] = {"nodes": 1, **changes}
        with pytest.raises(ValueError, match=words):
            Cluster(**given)
    with pytest.raises(ValueError, match="at least one unit"):
        simulate([], Cluster(1))
