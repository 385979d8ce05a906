"""Times rivals in turns on a GPU, by CUDA events around replays of a graph; on a CPU by the clock.

A graph takes Python and launches out of the measurement, for every side alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure import Run

WARM_RUNS = 3
MIN_ROUNDS, MAX_ROUNDS = 10, 200


class Deadline:
    """How much of the whole benchmark's time is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds; below zero once it has passed."""
        return self._end - time.monotonic()


def replayable(run: Run, device: str) -> tuple[Run, str]:
    """Capture a run in a CUDA graph; return what replays it, and "graph".

    On a CPU the run itself, and "call"; likewise where it cannot be captured, with the reason.
    """
    if device != "cuda":
        for _ in range(WARM_RUNS):
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


def in_turns(runs: dict[str, Run], device: str, seconds: float) -> dict[str, list[float]]:
    """Seconds of each run in each round; every round times all of them, one after the other."""
    clock = _events if device == "cuda" else _wall
    once = clock(runs, 2)
    per_round = sum(times[-1] for times in once.values())
    rounds = int(seconds / max(per_round, 1e-9))
    return clock(runs, max(MIN_ROUNDS, min(MAX_ROUNDS, rounds)))


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
    """The median of one run's times."""
    return statistics.median(in_turns({"it": run}, device, seconds)["it"]) * 1e3


def ceilings(device: str, size: int) -> dict[str, float]:
    """What the device reaches here: a copy, and products of square matrices of `size`.

    Returns:
        GB/s, bytes read and bytes written counted, and TFLOP/s of bfloat16 and of float32 at
        torch's present setting of tf32.
    """
    source = torch.empty(size * size * 4, device=device)
    target = torch.empty_like(source)
    run, _ = replayable(lambda: target.copy_(source), device)
    found = {"copy_gb_per_s": 2 * source.nbytes / median_ms(run, device, 0.2) / 1e6}
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)
        product: Callable[[], object] = _product(a, b, out)
        run, _ = replayable(product, device)
        name = str(dtype).removeprefix("torch.")
        found[f"{name}_tflop_per_s"] = 2 * size**3 / median_ms(run, device, 0.2) / 1e9
    return found


def _product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> Callable[[], object]:
    return lambda: torch.mm(a, b, out=out)
