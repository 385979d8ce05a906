"""Units of work after measured ones: so many hours of recordings, cut as a corpus is."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.scaling.cluster import Unit


@dataclass(frozen=True)
class Spread:
    """How units of one corpus differ, each beside their mean.

    Attributes:
        pairs: clips, and processor time, of every measured unit.
    """

    pairs: Sequence[tuple[float, float]]

    @classmethod
    def of(cls, *corpora: Sequence[Mapping[str, Any]]) -> Spread:
        """Take the units of one or more corpora, each beside its own corpus' mean."""
        pairs = []
        for units in corpora:
            clips = sum(unit["clips"] for unit in units) / len(units)
            seconds = sum(unit["cpu_s"] for unit in units) / len(units)
            pairs += [(unit["clips"] / clips, unit["cpu_s"] / seconds) for unit in units]
        return cls(pairs)


@dataclass(frozen=True)
class Rates:
    """Amounts per hour of clips.

    Attributes:
        core_s: processor seconds.
        read: bytes of media.
        write: bytes of part files.
    """

    core_s: float
    read: float
    write: float


def draw_units(
    spread: Spread,
    rates: Rates,
    hours: float,
    minutes: float,
    seed: int,
    sigma: float = 0.0,
) -> list[Unit]:
    """Draw recordings that last so many hours together.

    Args:
        spread: the units' sizes and times are drawn from it, with replacement.
        rates: per hour.
        hours: of all units; they are scaled to it.
        minutes: of a unit, on average.
        seed: of the draws.
        sigma: of a lognormal factor on each unit's length; 0: none.

    Returns:
        The units; their sizes are hours.

    Raises:
        ValueError: hours or minutes are not above 0.
    """
    if not (hours > 0 and minutes > 0):
        raise ValueError(f"hours and minutes must be above 0, got {hours} and {minutes}")
    drawn = random.Random(seed)
    count = max(1, round(60 * hours / minutes))
    pairs = drawn.choices(spread.pairs, k=count)
    lengths = [drawn.lognormvariate(0.0, sigma) if sigma else 1.0 for _ in pairs]
    size = sum(pair[0] * length for pair, length in zip(pairs, lengths, strict=True))
    time = sum(pair[1] * length for pair, length in zip(pairs, lengths, strict=True))
    units = []
    for (clips, seconds), length in zip(pairs, lengths, strict=True):
        own = hours * clips * length / size
        work = hours * rates.core_s * seconds * length / time
        units.append(Unit(own, work, own * rates.read, own * rates.write))
    return units


def quantiles(values: Sequence[float], share: float = 0.9) -> tuple[float, float]:
    """The middle interval that holds at least a share of the values, between two of them."""
    ordered = sorted(values)
    # A tenth of a number of values is no whole number in binary.
    outside = round((1 - share) / 2 * (len(ordered) - 1), 9)
    return ordered[math.floor(outside)], ordered[math.ceil(len(ordered) - 1 - outside)]
