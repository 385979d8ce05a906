"""The simulation: a heap of events, from the command's start to the last file written.

The head reads the corpus, then hands units, the largest first, to workers that have none. A unit is
read from the shared storage, worked on, and written. Machines and workers die; what they had begun
goes back to the head. A machine's cores and the storage are shared equally.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import floor, inf
from typing import Any

from benchmarks.scaling.cluster import Cluster, Outcome, Unit
from benchmarks.scaling.shared import Shared


@dataclass(eq=False, slots=True)
class _Node:
    number: int
    slowness: float
    cores: Shared[_Attempt] | None
    attempts: dict[int, _Attempt] = field(default_factory=dict)
    lives: int = 0  # how often it failed; what was scheduled in an earlier life is void
    version: int = 0
    up: bool = True


@dataclass(eq=False, slots=True)
class _Attempt:
    """A unit with a worker; or a worker's start, which has no unit."""

    node: _Node
    worker: int
    unit: int | None
    begun: float
    working_since: float = inf
    stage: str = ""
    alive: bool = True


def simulate(units: Sequence[Unit], cluster: Cluster, seed: int = 0) -> Outcome:
    """Run the units on the cluster.

    Args:
        units: in any order; the largest begin first, as in `mesm.corpora.parts`.
        cluster: the machines.
        seed: of slow machines and deaths.

    Raises:
        ValueError: there is no unit.
    """
    if not units:
        raise ValueError("there must be at least one unit")
    return _Simulation(units, cluster, seed).run()


class _Simulation:
    def __init__(self, units: Sequence[Unit], cluster: Cluster, seed: int) -> None:
        self.units, self.cluster, self.random = units, cluster, random.Random(seed)
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.now, self.order, self.head_free = 0.0, 0, cluster.before
        self.waiting = deque(sorted(range(len(units)), key=lambda i: -units[i].size))
        self.left = [unit.seconds for unit in units]
        self.running: dict[int, list[_Attempt]] = {}
        self.open = set(range(len(units)))
        self.idle: dict[tuple[int, int], tuple[_Node, int]] = {}
        self.spent, self.spent_size, self.scanning = 0.0, 0.0, False
        self.found = Outcome(useful=sum(self.left))
        self.storage: Shared[_Attempt] | None = None
        self.storage_version = 0
        # As long as all links together carry less, the storage slows nobody down.
        if cluster.storage < cluster.link * cluster.nodes * cluster.per_node:
            self.storage = Shared(cluster.storage, min(cluster.link, cluster.storage))
        slow = round(cluster.slow_share * cluster.nodes)
        factors = [cluster.slow_factor] * slow + [1.0] * (cluster.nodes - slow)
        self.random.shuffle(factors)
        # Where every worker has a core of its own, nothing is shared and nothing to be reckoned.
        shared = cluster.per_node > cluster.cores or cluster.crowding < 1
        self.nodes = [
            _Node(i, factor, Shared(cluster.cores, 1.0, cluster.crowding) if shared else None)
            for i, factor in enumerate(factors)
        ]

    def run(self) -> Outcome:
        cluster = self.cluster
        for node in self.nodes:
            self.at(cluster.before, self.come_up, node)
        while self.open:
            if not self.events:
                raise RuntimeError("the simulation stands still with units left")
            self.now, _, handle, given = heapq.heappop(self.events)
            handle(*given)
        found = self.found
        found.done = self.now
        found.seconds = self.now + cluster.after
        found.efficiency = found.useful / (found.seconds * cluster.nodes * cluster.cores)
        return found

    def at(self, time: float, handle: Callable[..., None], *given: Any) -> None:
        self.order += 1
        heapq.heappush(self.events, (time, self.order, handle, given))

    # Machines.

    def come_up(self, node: _Node) -> None:
        node.up = True
        for worker in range(self.cluster.per_node):
            self.start_worker(node, worker, node.lives)
        if self.cluster.node_mtbf < inf:
            self.at(self.now + self.random.expovariate(1 / self.cluster.node_mtbf), self.fail, node)

    def fail(self, node: _Node) -> None:
        node.up = False
        node.lives += 1
        self.found.nodes_failed += 1
        for attempt in list(node.attempts.values()):
            self.lose(attempt)
        for worker in range(self.cluster.per_node):
            self.idle.pop((node.number, worker), None)
        self.at(self.now + self.cluster.restart, self.come_up, node)

    def start_worker(self, node: _Node, worker: int, life: int) -> None:
        if life == node.lives:
            self.compute(self.attempt(node, worker, None), self.cluster.start)

    def attempt(self, node: _Node, worker: int, unit: int | None) -> _Attempt:
        made = _Attempt(node, worker, unit, self.now)
        node.attempts[worker] = made
        return made

    # Units.

    def free(self, node: _Node, worker: int) -> None:
        """A worker has nothing to do: give it a unit, or let it wait."""
        while self.waiting and self.waiting[0] not in self.open:
            self.waiting.popleft()
        if self.waiting:
            self.hand_out(node, worker, self.waiting.popleft())
            return
        if not self.found.drained:
            self.found.drained = self.now
        self.idle[node.number, worker] = node, worker
        if self.cluster.copies is not None and not self.scanning:
            self.scanning = True
            self.at(self.now, self.look_for_slow)

    def hand_out(self, node: _Node, worker: int, unit: int) -> None:
        attempt = self.attempt(node, worker, unit)
        attempt.stage = "reading"
        self.running.setdefault(unit, []).append(attempt)
        self.head_free = max(self.now, self.head_free) + self.cluster.dispatch
        # A unit that waits for the head is not slow.
        attempt.begun = self.head_free
        self.transfer(attempt, self.head_free + self.cluster.latency, self.units[unit].read)

    def transfer(self, attempt: _Attempt, begin: float, amount: float) -> None:
        """Move bytes, from then on."""
        if self.storage is None or not amount:
            self.at(begin + amount / self.cluster.link, self.moved, attempt)
        elif begin > self.now:
            self.at(begin, self.join_storage, attempt, amount)
        else:
            self.join_storage(attempt, amount)

    def join_storage(self, attempt: _Attempt, amount: float) -> None:
        if attempt.alive and self.storage is not None:
            self.storage.add(self.now, attempt, amount)
            self.plan_storage()

    def plan_storage(self) -> None:
        self.storage_version += 1
        if self.storage is not None and (found := self.storage.next(self.now)) is not None:
            self.at(found[0], self.storage_done, self.storage_version, found[1])

    def storage_done(self, version: int, attempt: _Attempt) -> None:
        if version == self.storage_version and self.storage is not None:
            self.storage.remove(self.now, attempt)
            self.moved(attempt)
            self.plan_storage()

    def moved(self, attempt: _Attempt) -> None:
        if not attempt.alive or attempt.unit is None:
            return
        if attempt.stage == "reading":
            attempt.working_since = self.now
            self.compute(attempt, self.left[attempt.unit])
            if self.cluster.worker_mtbf < inf:
                die = self.random.expovariate(1 / self.cluster.worker_mtbf)
                alone = self.left[attempt.unit] * attempt.node.slowness
                # On a core of its own the worker is known to be done before, mostly.
                if attempt.node.cores is not None or die < alone:
                    self.at(self.now + die, self.die, attempt)
        else:
            self.finish(attempt, attempt.unit)

    def compute(self, attempt: _Attempt, seconds: float) -> None:
        attempt.stage = "working"
        node = attempt.node
        amount = seconds * node.slowness
        if node.cores is None:
            self.at(self.now + amount, self.computed, attempt)
        else:
            node.cores.add(self.now, attempt, amount)
            self.plan_cores(node, node.cores)

    def plan_cores(self, node: _Node, cores: Shared[_Attempt]) -> None:
        node.version += 1
        if (found := cores.next(self.now)) is not None:
            self.at(found[0], self.core_done, node, cores, node.version, found[1])

    def core_done(
        self, node: _Node, cores: Shared[_Attempt], version: int, attempt: _Attempt
    ) -> None:
        if version == node.version:
            cores.remove(self.now, attempt)
            self.plan_cores(node, cores)
            self.computed(attempt)

    def computed(self, attempt: _Attempt) -> None:
        if not attempt.alive or attempt.stage != "working":
            return
        if attempt.unit is None:
            attempt.alive = False
            del attempt.node.attempts[attempt.worker]
            self.free(attempt.node, attempt.worker)
        else:
            attempt.stage = "writing"
            self.transfer(attempt, self.now, self.units[attempt.unit].write)

    def finish(self, attempt: _Attempt, unit: int) -> None:
        self.open.remove(unit)
        self.spent += self.now - attempt.begun
        self.spent_size += self.units[unit].size
        freed = [attempt]
        for other in self.running.pop(unit):
            if other is not attempt:
                self.leave(other)
                self.found.copied += max(0.0, self.now - other.begun)
                freed.append(other)
        attempt.alive = False
        for one in freed:
            del one.node.attempts[one.worker]
            self.free(one.node, one.worker)

    # Deaths.

    def leave(self, attempt: _Attempt) -> None:
        """Take an attempt from whatever it shares."""
        attempt.alive = False
        cores = attempt.node.cores
        if attempt.stage == "working" and cores is not None:
            cores.remove(self.now, attempt)
            self.plan_cores(attempt.node, cores)
        elif self.storage is not None and attempt in self.storage:
            self.storage.remove(self.now, attempt)
            self.plan_storage()

    def lose(self, attempt: _Attempt) -> None:
        """End an attempt by a death; its unit waits again once the head knows."""
        unit, node = attempt.unit, attempt.node
        if attempt.stage == "working" and unit is not None and self.cluster.checkpoint < inf:
            if node.cores is None:
                worked = (self.now - attempt.working_since) / node.slowness
            else:
                worked = node.cores.done(self.now, attempt) / node.slowness
            kept = floor(worked / self.cluster.checkpoint) * self.cluster.checkpoint
            self.left[unit] = max(0.0, self.left[unit] - kept)
        self.leave(attempt)
        del node.attempts[attempt.worker]
        if unit is None:
            return
        self.found.lost += max(0.0, self.now - attempt.begun)
        self.running[unit].remove(attempt)
        if not self.running[unit]:
            del self.running[unit]
            self.at(self.now + self.cluster.detect, self.wait_again, unit)

    def wait_again(self, unit: int) -> None:
        self.found.again += 1
        if self.idle:
            self.hand_out(*self.idle.pop(next(iter(self.idle))), unit)
        else:
            self.waiting.appendleft(unit)

    def die(self, attempt: _Attempt) -> None:
        if attempt.alive and attempt.stage == "working":
            node, worker = attempt.node, attempt.worker
            self.found.workers_died += 1
            self.lose(attempt)
            self.at(self.now + self.cluster.detect, self.start_worker, node, worker, node.lives)

    # Copies of slow units.

    def look_for_slow(self) -> None:
        """Begin units a second time that take long, as long as workers have nothing to do."""
        self.scanning = False
        if self.cluster.copies is None or not self.idle:
            return  # the next worker that waits looks again
        pace = self.spent / self.spent_size if self.spent_size else inf
        late = []
        for unit, attempts in self.running.items():
            if len(attempts) == 1:
                expected = pace * self.units[unit].size
                taken = self.now - attempts[0].begun
                if taken > self.cluster.copies * expected:
                    late.append((expected - taken, unit, attempts[0].node))
        for _, unit, node in sorted(late, key=lambda one: one[:2]):
            free = next((key for key in self.idle if key[0] != node.number), None)
            if free is None:
                break
            self.found.copies += 1
            self.hand_out(*self.idle.pop(free), unit)
        self.scanning = True
        self.at(self.now + self.cluster.scan, self.look_for_slow)
