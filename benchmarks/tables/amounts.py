"""Amounts in words, and the one simulation that the tables of 1,000 hours share."""

from __future__ import annotations

from typing import Any

from benchmarks.tables.registry import results

SCALING, RATES, COST = "scaling", "scaling-rates", "experiment-cost-2cores"
MEGABYTE, GIGABYTE = 1e6, 1e9


def simulated_hours() -> float:
    """Length of all clips of the simulation."""
    return float(results(SCALING)["assumed"]["hours"])


def machines(content: dict[str, Any]) -> list[int]:
    """The numbers of machines that were simulated."""
    return sorted({row["nodes"] for row in content["rows"]})


def in_bytes(value: float) -> str:
    """Bytes in the largest unit that they fill."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e3:.3g} kB"


def in_minutes(seconds: float) -> str:
    """Seconds as minutes."""
    return f"{seconds / 60:.1f}"
