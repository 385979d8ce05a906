"""The facts of a simulation: units of work, machines, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of work.

    Attributes:
        size: known before the work, such as a number of clips; the largest units begin first.
        seconds: of one core of speed 1.
        read: bytes that come from the shared storage before.
        write: bytes that go there afterwards.
    """

    size: float
    seconds: float
    read: float = 0.0
    write: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """Machines alike, but for the slow ones, and a head that hands units to their workers.

    Attributes:
        nodes: how many machines, the head not among them.
        cores: of each; a part of one is what others leave of it.
        workers: of each; None: one per core.
        crowding: the speed of a core while others of its machine work, of one that works alone.
        before: seconds of the head before the first unit.
        start: seconds of a core until a worker takes its first unit.
        dispatch: seconds of the head per unit handed out.
        after: seconds of the head after the last unit.
        link: bytes per second of one worker from and to the storage.
        storage: bytes per second of all workers together.
        latency: seconds until the first byte, per unit.
        slow_share: the share of slow machines, drawn anew in each run.
        slow_factor: so many times longer a slow machine takes.
        node_mtbf: seconds on average until a machine that runs fails, exponential.
        worker_mtbf: seconds of work on average until a worker dies, exponential.
        detect: seconds until the head knows, and gives the units to others.
        restart: seconds until a machine is there again; its workers start then.
        copies: a unit that takes so many times what units of its size took so far is begun a second
            time where a worker has nothing to do; the first that ends counts. None: never.
        scan: seconds between two looks for such units.
        checkpoint: seconds of work after which a unit's work is kept; inf: only whole units are.
    """

    nodes: int
    cores: float = 16
    workers: int | None = None
    crowding: float = 1.0
    before: float = 0.0
    start: float = 0.0
    dispatch: float = 0.0
    after: float = 0.0
    link: float = inf
    storage: float = inf
    latency: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0
    node_mtbf: float = inf
    worker_mtbf: float = inf
    detect: float = 0.0
    restart: float = 0.0
    copies: float | None = None
    scan: float = 5.0
    checkpoint: float = inf

    def __post_init__(self) -> None:
        for name in ("nodes", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        above = ("cores", "crowding", "link", "storage", "node_mtbf", "worker_mtbf", "checkpoint")
        for name in above:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("before", "start", "dispatch", "after", "latency", "detect", "restart"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be 0 or more seconds, got {getattr(self, name)}")
        if not 0 <= self.slow_share <= 1 or self.slow_factor < 1:
            raise ValueError(
                "slow_share must be 0 to 1 and slow_factor at least 1, got "
                f"{self.slow_share} and {self.slow_factor}"
            )
        if self.copies is not None and (self.copies < 1 or self.scan <= 0):
            raise ValueError(
                f"copies must be at least 1 and scan above 0, got {self.copies} and {self.scan}"
            )

    @property
    def per_node(self) -> int:
        """Workers of a machine."""
        return self.workers or max(1, int(self.cores))


@dataclass
class Outcome:
    """How a simulated run went.

    Attributes:
        seconds: from the command to the end, the head's work before and after included.
        drained: when no unit was waiting any more.
        done: when the last unit was done.
        useful: seconds of a core of speed 1 that the units took.
        lost: seconds of workers in units that a death ended.
        copied: seconds of workers in units that another worker finished first.
        nodes_failed, workers_died: how often.
        again: units begun anew after a death.
        copies: units begun a second time for being slow.
        efficiency: useful seconds of all seconds of all cores.
    """

    seconds: float = 0.0
    drained: float = 0.0
    done: float = 0.0
    useful: float = 0.0
    lost: float = 0.0
    copied: float = 0.0
    nodes_failed: int = 0
    workers_died: int = 0
    again: int = 0
    copies: int = 0
    efficiency: float = 0.0
