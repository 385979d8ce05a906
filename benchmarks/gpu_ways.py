"""Both ways in which the CUDA kernels run a block in inference, side by side.

All steps in one kernel, groups of frames at a time, or a launch for each step: which is faster
where is reckoned in docs/gpu.md, and told by these rows where there is a GPU.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.cost_model import Machine, block_costs
from benchmarks.gpu_calls import Call, block_calls, block_case_on, sizes
from benchmarks.gpu_timing import in_turns, replayable
from benchmarks.measure import Run
from benchmarks.shapes import HEADLINE_P, Shape
from mesm_ops import backends

VARIABLE = "MESM_OPS_CUDA_BLOCK"
WAYS = {"group": "one kernel", "launches": "a launch for each step"}
Row = dict[str, Any]


@contextlib.contextmanager
def way(name: str) -> Iterator[None]:
    """Ask the CUDA kernels for one way while this lasts."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


@torch.no_grad()
def way_rows(
    device: str, shape: Shape, frames: int, seconds: float, machine: Machine | None
) -> Iterator[Row]:
    """A row for each way that takes this shape in bfloat16, timed in turns; it says which wins."""
    dtype = torch.bfloat16
    case = block_case_on(device, shape, HEADLINE_P, dtype, frames)
    counted = sizes(case, shape, dtype)
    cost = block_costs(counted)["block inference"]
    call = next(block_calls(case, dtype))
    runs: dict[str, Run] = {}
    hows: dict[str, str] = {}
    for name in WAYS if takes_group(call, device) else ("launches",):
        with way(name):
            runs[name], hows[name] = replayable(call.run, device)
            if hows[name] != "graph" and device == "cuda":
                raise RuntimeError(f"{shape}, {WAYS[name]}: {hows[name]}")
    seconds_of = in_turns(runs, device, seconds * len(runs))
    medians = {name: statistics.median(times) * 1e3 for name, times in seconds_of.items()}
    for name, took in medians.items():
        row: Row = {
            "group": f"block inference both ways, bfloat16, {frames} frames, p = {HEADLINE_P}",
            "what": f"block inference, {WAYS[name]}",
            "shape": str(shape),
            "frames": frames,
            "p": HEADLINE_P,
            "dtype": "bfloat16",
            "density": counted.kept / counted.rows,
            "flops": cost.flops,
            "bytes": cost.bytes,
            "ms": took,
            "how": hows[name],
            "wins": took == min(medians.values()),
        }
        if machine:
            row["floor_us"] = cost.floor_us(machine, "bfloat16")
        yield row


def takes_group(call: Call, device: str) -> bool:
    """Whether one kernel takes these arguments; on a CPU, where neither way is, both are tried."""
    if device != "cuda":
        return True
    a = call.arguments
    if backends.choose(call.op, a) != "cuda":
        return False
    return "one kernel" in (backends.how(call.op, "cuda", a) or "")
