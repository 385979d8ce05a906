"""Times rivals in turns, counts FLOPs and watches memory, on a CPU or a GPU.

On a GPU CUDA events time a run, usually around replays of a CUDA graph, which keeps Python and
launches out of the measurement, for every side alike. On a CPU the clock is read.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Run = Callable[[], object]
Rounds = Callable[[float], int]  # how many rounds, given the seconds of one round

WARM_RUNS = 3
MIN_ROUNDS = 5
LATE_ROUNDS = 3  # rounds of a row once the budget is used up
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
        return rounds_within(seconds, fewest)(round_seconds)


def rounds_within(seconds: float, fewest: int = 2 * MIN_ROUNDS) -> Rounds:
    """As many rounds as fit into some seconds, from `fewest` to `MAX_ROUNDS`."""
    return lambda each: max(fewest, min(MAX_ROUNDS, int(seconds / max(each, 1e-9))))


def replayable(run: Run, device: str) -> tuple[Run, str]:
    """Capture a run in a CUDA graph; return a function that replays the graph, and "graph".

    On a CPU, return the run itself and "call"; likewise, with the reason, if capturing fails.
    """
    if device != "cuda":
        run()
        return run, "call"
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries allocate and kernels are tuned outside the graph
        for _ in range(WARM_RUNS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
        graph.replay()
        torch.cuda.synchronize()
    except RuntimeError as error:
        torch.cuda.synchronize()
        reason = str(error).splitlines()[0]
        return run, f"call, no graph: {reason}"
    return graph.replay, "graph"


def in_turns(runs: dict[str, Run], device: str, rounds: Rounds) -> dict[str, list[float]]:
    """Seconds of each run in each round; every round times all of them, one after the other.

    Two earlier rounds warm up, and tell `rounds` how long a round takes.
    """
    clock = _events if device == "cuda" else _wall
    first = clock(runs, 2)
    return clock(runs, rounds(sum(times[-1] for times in first.values())))


def _wall(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def _events(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    marks: dict[str, list[tuple[Any, Any]]] = {name: [] for name in runs}
    torch.cuda.synchronize()
    for _ in range(rounds):
        for name, run in runs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            marks[name].append((start, end))
    torch.cuda.synchronize()
    return {
        name: [start.elapsed_time(end) / 1e3 for start, end in pairs]
        for name, pairs in marks.items()
    }


def median_ms(run: Run, device: str, seconds: float) -> float:
    """The median of one run's times, in milliseconds."""
    return statistics.median(in_turns({"": run}, device, rounds_within(seconds))[""]) * 1e3


def host_us(run: Run, device: str, rounds: int = 20) -> float:
    """Microseconds until a call returns while the device has nothing else to do, the median."""
    times = []
    for _ in range(rounds):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def compare(ours: list[float], rival: list[float]) -> dict[str, Any]:
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


def peak_memory(run: Run, device: str = "cpu") -> float | None:
    """MiB that one run adds at its peak: on a CPU resident, on a GPU allocated by torch.

    Resident memory includes memory that oneDNN allocates behind torch's allocator. None where Linux
    does not report resident memory.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - allocated) / 2**20
    if sys.platform != "linux":
        return None
    ctypes.CDLL(None).malloc_trim(0)
    before = _status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to the present resident memory
    run()
    return _status_mib("VmHWM") - before


def _status_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
