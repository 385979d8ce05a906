"""The kinds of input, and how many of each a campaign tries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.faults import held, kills, raw, readers, settings
from tests.faults.base import Base
from tests.faults.outcome import Outcome
from tests.faults.pool import Input


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Args:
        make: makes the input of a seed, tries it and tells the outcome.
        group: "commands", "readers", "ops", "kills" or "situations".
        full: how many the whole campaign tries.
        short: how many the short form tries.
        batch: how many one process tries.
    """

    make: Callable[[Base, int], Outcome]
    group: str
    full: int
    short: int
    batch: int = 1


def _ops(_base: Base, seed: int) -> Outcome:
    from tests.faults.ops import tries

    return Outcome(*next(tries(seed, 1)))


KINDS: dict[str, Kind] = {
    "prepare": Kind(raw.prepare, "commands", 150, 4),
    "features": Kind(raw.features, "commands", 80, 3),
    "held": Kind(held.held, "commands", 180, 8),
    "line": Kind(settings.line, "commands", 100, 4),
    "training": Kind(settings.training, "commands", 90, 3),
    "kill": Kind(kills.kill, "kills", 100, 1),
    "stop": Kind(kills.stop, "situations", 44, 0),
    "disk": Kind(kills.full_disk, "situations", 44, 1),
    "pair": Kind(kills.pair, "situations", 33, 0),
    "surroundings": Kind(kills.surroundings, "situations", 40, 1),
    "read": Kind(readers.read, "readers", 2000, 100, 50),
    "config": Kind(settings.config, "readers", 1000, 100, 100),
    "ops": Kind(_ops, "ops", 6400, 100, 200),
}


def batches(names: Iterable[str], seed: int, full: bool) -> list[list[Input]]:
    """The inputs of a campaign, those that take longest first."""
    found = []
    for name in names:
        kind = KINDS[name]
        seeds = range(seed, seed + (kind.full if full else kind.short))
        inputs = [(name, one) for one in seeds]
        found += [inputs[i : i + kind.batch] for i in range(0, len(inputs), kind.batch)]
    return found
