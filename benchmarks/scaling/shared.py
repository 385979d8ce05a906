"""A resource that all jobs on it share equally, as processes share cores and streams disks."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

J = TypeVar("J")


class Shared(Generic[J]):
    """Jobs that run at the same speed, which depends on how many there are.

    A clock of its own counts what one job would have got done since the start. A job of some
    amount ends when that clock has moved by the amount, so that a job's coming or going costs
    O(log n), not a new time for every other job.

    Args:
        capacity: of all jobs together, in units of amount per second.
        limit: of one job.
        crowding: the share of the capacity that is left while more than one job runs.
    """

    def __init__(self, capacity: float, limit: float, crowding: float = 1.0) -> None:
        if min(capacity, limit, crowding) <= 0:
            raise ValueError(
                f"capacity, limit and crowding must be above 0, got {capacity}, {limit}, {crowding}"
            )
        self._capacity, self._limit, self._crowding = capacity, limit, crowding
        self._clock, self._now, self._order = 0.0, 0.0, 0
        self._ends: list[tuple[float, int, J]] = []
        self._running: dict[J, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, job: object) -> bool:
        return job in self._running

    def _speed(self) -> float:
        jobs = len(self._running)
        if jobs <= 1:
            return min(self._limit, self._capacity)
        return self._crowding * min(self._limit, self._capacity / jobs)

    def _move(self, now: float) -> None:
        if self._running:
            self._clock += (now - self._now) * self._speed()
        self._now = now

    def add(self, now: float, job: J, amount: float) -> None:
        """Begin a job."""
        self._move(now)
        self._order += 1
        self._running[job] = (self._order, self._clock)
        heapq.heappush(self._ends, (self._clock + amount, self._order, job))

    def remove(self, now: float, job: J) -> float:
        """End a job, whether it is done or not; returns the amount that it got done."""
        self._move(now)
        return self._clock - self._running.pop(job)[1]

    def done(self, now: float, job: J) -> float:
        """The amount that a running job has got done."""
        self._move(now)
        return self._clock - self._running[job][1]

    def next(self, now: float) -> tuple[float, J] | None:
        """When the next job will be done, if none comes or goes before, and which; None: idle."""
        self._move(now)
        while self._ends:
            end, order, job = self._ends[0]
            if self._running.get(job, (0, 0.0))[0] == order:
                return now + max(0.0, end - self._clock) / self._speed(), job
            heapq.heappop(self._ends)
        return None
