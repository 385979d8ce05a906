"""A shared resource against its closed forms."""

from __future__ import annotations

import random

import pytest

from benchmarks.scaling.shared import Shared


def ends(shared: Shared[str], now: float = 0.0) -> dict[str, float]:
    """When each job ends if none comes any more."""
    found = {}
    while (done := shared.next(now)) is not None:
        now, job = done
        shared.remove(now, job)
        found[job] = now
    return found


def test_jobs_share_and_leave_their_share_to_others() -> None:
    shared = Shared[str](capacity=1.0, limit=1.0)
    shared.add(0.0, "long", 3.0)
    shared.add(0.0, "short", 1.0)
    # Both at half speed until 2, then the long one alone.
    assert ends(shared) == pytest.approx({"short": 2.0, "long": 4.0})


def test_four_jobs_on_two_cores_take_twice_as_long_as_two() -> None:
    for jobs, seconds in ((1, 10.0), (2, 10.0), (4, 20.0)):
        shared = Shared[str](capacity=2.0, limit=1.0)
        for job in range(jobs):
            shared.add(0.0, str(job), 10.0)
        assert list(ends(shared).values()) == pytest.approx([seconds] * jobs)


def test_a_core_is_slower_beside_a_busy_one() -> None:
    shared = Shared[str](capacity=2.0, limit=1.0, crowding=0.8)
    shared.add(0.0, "a", 4.0)
    shared.add(0.0, "b", 8.0)
    # At 0.8 until 5, then 4 are left at full speed.
    assert ends(shared) == pytest.approx({"a": 5.0, "b": 9.0})


def test_a_job_that_is_taken_away_tells_how_far_it_came() -> None:
    shared = Shared[str](capacity=1.0, limit=1.0)
    shared.add(0.0, "a", 4.0)
    shared.add(1.0, "b", 9.0)
    assert shared.done(3.0, "a") == pytest.approx(2.0)
    assert shared.remove(3.0, "b") == pytest.approx(1.0)
    assert "b" not in shared
    assert ends(shared, 3.0) == pytest.approx({"a": 5.0})


def test_one_server_under_poisson_arrivals_keeps_jobs_as_long_as_theory_says() -> None:
    """Processor sharing keeps a job s / (1 - load) on average (M/G/1-PS)."""
    drawn, load, jobs = random.Random(0), 0.6, 40_000
    shared = Shared[int](capacity=1.0, limit=1.0)
    came: dict[int, float] = {}
    now, arrival, stayed = 0.0, 0.0, 0.0
    for number in range(jobs):
        arrival += drawn.expovariate(load)
        while (done := shared.next(now)) is not None and done[0] <= arrival:
            now, job = done
            shared.remove(now, job)
            stayed += now - came.pop(job)
        now = arrival
        came[number] = now
        shared.add(now, number, drawn.expovariate(1.0))
    finished = jobs - len(came)
    assert stayed / finished == pytest.approx(1 / (1 - load), rel=0.07)


def test_senseless_speeds_are_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0, got 0, 1"):
        Shared[int](0, 1)
