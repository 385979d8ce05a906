"""Times two rivals in turns, counts FLOPs and watches memory."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

Run = Callable[[], object]

MIN_ROUNDS = 5
LATE_ROUNDS = 3  # once the budget is used up
MAX_ROUNDS = 200


class Clock:
    """Says how long a row may measure, so that the whole session keeps its budget.

    Args:
        budget: seconds for the session; once used up, rows take the fewest rounds.
        row_seconds: the most that one row measures.
    """

    def __init__(self, budget: float, row_seconds: float) -> None:
        self._end = time.perf_counter() + budget
        self._row_seconds = row_seconds

    def rounds(self, round_seconds: float, weight: float = 1.0) -> int:
        """Rounds for a row whose round takes `round_seconds`."""
        left = max(0.0, self._end - time.perf_counter())
        seconds = min(self._row_seconds * weight, left)
        fewest = MIN_ROUNDS if left > 0 else LATE_ROUNDS
        return max(fewest, min(MAX_ROUNDS, int(seconds / round_seconds)))


def in_turns(benchmark: Any, ours: Run, rival: Run, clock: Clock, weight: float = 1.0) -> dict:
    """Time `ours` as the benchmark's own measurement and `rival` before each of its rounds.

    Args:
        benchmark: pytest-benchmark's fixture.
        ours: one run of the sparse side.
        rival: one run of the other side.
        clock: gives the number of rounds.
        weight: how much more than an ordinary row this one may take.

    Returns:
        Medians in ms, the ratio rival/ours with its quartiles over rounds, and each side's
        spread (interquartile range over median).
    """
    rival_seconds: list[float] = []

    def timed(run: Run) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def setup() -> None:
        rival_seconds.append(timed(rival))

    timed(rival), timed(ours)
    rounds = clock.rounds(timed(rival) + timed(ours), weight)
    benchmark.pedantic(ours, setup=setup, rounds=rounds, warmup_rounds=1)
    if benchmark.stats is None:
        raise RuntimeError("benchmarks were disabled, so there is nothing to compare")
    ours_seconds = list(benchmark.stats.stats.data)
    return compare(ours_seconds, rival_seconds[-len(ours_seconds) :])


def compare(ours: list[float], rival: list[float]) -> dict:
    """Medians in ms, their ratio and the spreads of two equally long lists of seconds."""
    ours_ms, rival_ms = statistics.median(ours) * 1e3, statistics.median(rival) * 1e3
    low, _, high = statistics.quantiles([r / o for o, r in zip(ours, rival, strict=True)], n=4)
    return {
        "ms": ours_ms,
        "rival_ms": rival_ms,
        "ratio": rival_ms / ours_ms,
        "ratio_quartiles": [low, high],
        "spread": _spread(ours),
        "rival_spread": _spread(rival),
        "rounds": len(ours),
    }


def _spread(seconds: list[float]) -> float:
    low, middle, high = statistics.quantiles(seconds, n=4)
    return (high - low) / middle


def count_flops(run: Run) -> int:
    """FLOPs of one run, 2 per multiply–accumulate, as `FlopCounterMode` counts them."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def peak_memory(run: Run) -> float | None:
    """MiB of resident memory that one run adds at its peak; None where Linux does not tell.

    Resident memory also holds what oneDNN allocates behind torch's allocator.
    """
    if sys.platform != "linux":
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to what is resident now
    run()
    return _status_mib("VmHWM") - before


def _status_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
