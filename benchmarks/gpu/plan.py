"""The GPU benchmark: every op, the block and the models against dense PyTorch on the same GPU.

    python -m benchmarks.gpu                                  # about 6 minutes on an H200
    python -m benchmarks.gpu --device cpu --smoke --results FILE      # that it runs, no figures

The rival is the better of cuDNN in channels-last, eager and compiled with max-autotune. Every side
is replayed from a CUDA graph, in turns; a row is timed only after the sparse result agreed with the
dense referee. Rows come in the order of what matters, and are written as they come.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.cost_model import Machine, block_costs, dense_costs, op_costs
from benchmarks.gate import autocast, check_block, error_line
from benchmarks.gpu_calls import block_case_on, calls, sizes
from benchmarks.gpu_environment import default_results, environment, machine_of
from benchmarks.gpu_models import model_rows
from benchmarks.gpu_plot import draw, floor_table
from benchmarks.gpu_rivals import (
    Rivals,
    dense_call,
    dense_rivals,
    inference_run,
    training_run,
)
from benchmarks.gpu_timing import Deadline, ceilings, in_turns, median_ms, replayable
from benchmarks.gpu_ways import way_rows
from benchmarks.inputs import BlockCase
from benchmarks.measure import Run, compare
from benchmarks.report import table, write_json
from benchmarks.shapes import FACE_BLOCKS, HEADLINE_P, P_VALUES, Shape
from mesm.plots.style import save_png

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}  # in the order measured
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long."""

    device: str
    frames: int
    shapes: tuple[Shape, ...]
    p_values: tuple[float, ...]
    clips: int
    channels: tuple[int, ...] | None  # of the models; None: the paper's
    row_seconds: float
    compiled: bool
    deadline: Deadline
    machine: Machine | None


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Turn the command line into a plan."""
    deadline = Deadline(arguments.seconds)
    if arguments.smoke:
        shapes, channels = (Shape(8, 16, 8, 6),), (8, 8, 16, 16)
        sizes_ = (arguments.frames or 4, shapes, (HEADLINE_P, 1.0), 2, channels, 0.001)
    else:
        frames = arguments.frames or 512
        sizes_ = (frames, FACE_BLOCKS, P_VALUES, -(-frames // 20), None, 0.25)
    compiled = not arguments.no_compile
    machine = machine_of(arguments.device)
    return Plan(arguments.device, *sizes_, compiled, deadline, machine)


def timed(plan: Plan, ours: Run, rivals: Rivals) -> Row:
    """Times of ours and of the better rival, in turns, with all that was tried."""
    captured, how = replayable(ours, plan.device)
    runs = {"ours": captured, **rivals.runs}
    seconds = in_turns(runs, plan.device, plan.row_seconds * len(runs))
    mine = seconds.pop("ours")
    best = min(seconds, key=lambda name: statistics.median(seconds[name]))
    return {
        **compare(mine, seconds[best]),
        "rival": f"dense {best}",
        "how": how,
        "rivals_ms": {name: statistics.median(s) * 1e3 for name, s in seconds.items()},
        "rival_notes": rivals.notes,
    }


class Blocks:
    """Rows of the block; its dense rivals are made once for all p."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._rivals: dict[tuple[Shape, str, bool], Rivals] = {}

    def row(self, shape: Shape, dtype: str, train: bool, p: float) -> Row:
        """Check, then time one block at one p."""
        plan, kind = self.plan, DTYPES[dtype]
        case = block_case_on(plan.device, shape, p, kind, plan.frames)
        case.block.train(train)
        case.rival.train(train)
        counted = sizes(case, shape, kind)
        what = "block training step" if train else "block inference"
        cost, dense = block_costs(counted)[what], dense_costs(counted)[what]
        row: Row = {
            "group": f"{what}, {dtype}, {plan.frames} frames",
            "what": what,
            "shape": str(shape),
            "frames": plan.frames,
            "p": p,
            "dtype": dtype,
            "density": counted.kept / counted.rows,
            "flops": cost.flops,
            "dense_flops": dense.flops,
            "bytes": cost.bytes,
        }
        if plan.machine:
            row["floor_us"] = cost.floor_us(plan.machine, dtype)
            row["dense_floor_us"] = dense.floor_us(plan.machine, dtype)
        row["gate_error"] = check_block(case, kind, train)
        key = (shape, dtype, train)
        if key not in self._rivals:
            self._rivals[key] = self._make_rivals(case, kind, train)
        ours = self._run(case, case.block, self._sparse(case), kind, train)
        row |= timed(plan, ours, self._rivals[key])
        if p == HEADLINE_P:  # as Python calls it, launches and all
            row["eager_ms"] = median_ms(ours, plan.device, plan.row_seconds)
            rival = self._run(case, case.rival, case.rival, kind, train)
            row["rival_eager_ms"] = median_ms(rival, plan.device, plan.row_seconds)
        return row

    def _make_rivals(self, case: BlockCase, dtype: torch.dtype, train: bool) -> Rivals:
        plan = self.plan

        def make(module: Any) -> Run:
            return self._run(case, case.rival, module, dtype, train)

        return dense_rivals(make, case.rival, plan.device, plan.deadline, plan.compiled)

    @staticmethod
    def _sparse(case: BlockCase) -> Any:
        return lambda maps: case.block(maps, case.query, case.lengths).features

    @staticmethod
    def _run(case: BlockCase, module: Any, forward: Any, dtype: torch.dtype, train: bool) -> Run:
        if train:
            return training_run(module, forward, case.maps, dtype)
        return inference_run(forward, case.maps, dtype)


@torch.no_grad()
def op_rows(plan: Plan, shape: Shape, dtype: str) -> Iterator[Row]:
    """Each op of the block with its floor, and dense PyTorch's counterpart where there is one."""
    kind = DTYPES[dtype]
    case = block_case_on(plan.device, shape, HEADLINE_P, kind, plan.frames)
    costs = op_costs(counted := sizes(case, shape, kind))
    for call in calls(case, kind):
        cost = costs[call.name]
        row: Row = {
            "group": f"ops, {dtype}, {plan.frames} frames, p = {HEADLINE_P}",
            "what": call.name,
            "shape": str(shape),
            "frames": plan.frames,
            "p": HEADLINE_P,
            "dtype": dtype,
            "density": counted.kept / counted.rows,
            "flops": cost.flops,
            "bytes": cost.bytes,
        }
        if plan.machine:
            row["floor_us"] = cost.floor_us(plan.machine, dtype)
        try:
            run, row["how"] = replayable(call.run, plan.device)
            if (dense := dense_call(call, plan.frames)) is None:
                row["ms"] = median_ms(run, plan.device, plan.row_seconds / 2)
            else:
                other, _ = replayable(dense, plan.device)
                seconds = in_turns({"ours": run, "dense": other}, plan.device, plan.row_seconds)
                row |= {"rival": "dense eager", **compare(seconds["ours"], seconds["dense"])}
        except RuntimeError as error:
            row["error"] = error_line(error)
        yield row


def measure(plan: Plan) -> Iterator[Row]:
    """Every row, what the targets name first; a row that fails says why and the rest goes on."""
    blocks = Blocks(plan)
    others = [p for p in plan.p_values if p != HEADLINE_P]

    def block_rows(dtype: str, p_values: list[float]) -> Iterator[Row]:
        for shape in plan.shapes:
            for train in (False, True):
                for p in p_values:
                    yield _or_error(blocks, shape, dtype, train, p)

    for dtype in DTYPES:
        yield from block_rows(dtype, [HEADLINE_P, 1.0])
        for shape in plan.shapes if dtype == "bfloat16" else ():
            yield from _ways(plan, shape)
        yield from model_rows(plan, dtype, [HEADLINE_P])
        for shape in plan.shapes:
            yield from op_rows(plan, shape, dtype)
    for dtype in DTYPES:
        yield from block_rows(dtype, [p for p in others if p != 1.0])
        yield from model_rows(plan, dtype, others)


def _or_error(blocks: Blocks, shape: Shape, dtype: str, train: bool, p: float) -> Row:
    try:
        return blocks.row(shape, dtype, train, p)
    except Exception as error:
        what = "block training step" if train else "block inference"
        return {
            "group": f"{what}, {dtype}, {blocks.plan.frames} frames",
            **{"what": what, "shape": str(shape), "p": p, "dtype": dtype, "rival": "dense"},
            "error": error_line(error),
        }


def _ways(plan: Plan, shape: Shape) -> list[Row]:
    try:
        timing = (plan.frames, plan.row_seconds, plan.machine)
        return list(way_rows(plan.device, shape, *timing))
    except Exception as error:
        what = {"group": "block inference both ways", "what": "block inference both ways"}
        about = {"shape": str(shape), "p": HEADLINE_P, "dtype": "bfloat16", "rival": "none"}
        return [what | about | {"error": error_line(error)}]


def backends_in_use(device: str) -> dict[str, str]:
    """Which backend runs each op on this device."""
    from mesm_ops import backends, explain

    with autocast(torch.float32, device):
        return {op: explain(op) for op in backends.ops()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cuda", "cpu"), default=default)
    parser.add_argument("--frames", type=int, help="default: 512")
    parser.add_argument("--seconds", type=float, default=330.0, help="after which it ends")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/GPU-DATE.json")
    parser.add_argument("--no-compile", action="store_true", help="only the eager rival")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes: that it runs at all")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("error: torch finds no CUDA device; --device cpu --smoke tries the program")
        return 1
    plan = plan_of(arguments)
    path = arguments.results or default_results(arguments.device)
    facts = environment(arguments.device) | {"ceilings": ceilings(plan.device, _ceiling(plan))}
    facts |= {"backends": backends_in_use(plan.device)}
    rows: list[Row] = []
    finished = True
    for row in measure(plan):
        rows.append(row)
        said = f"{row['ratio']:.2f}x" if "ratio" in row else row.get("error", "")
        took = f"{row['ms'] * 1e3:.1f} µs" if "ms" in row else ""
        print(
            f"{row['group']}: {row['what']} {row['shape']} p={row['p']} {took} {said}", flush=True
        )
        write_json(path, {"machine": facts, "rows": rows})
        if plan.deadline.left() <= 0:
            finished = False
            break
    write_json(path, {"machine": facts, "finished": finished, "rows": rows})
    save_png(draw(rows, facts["name"]), path.with_suffix(".png"))
    print("\n".join([*table([r for r in rows if "dense_flops" in r or "error" in r]), ""]))
    print("\n".join([*floor_table(rows), "", f"Written to {path} and {path.with_suffix('.png')}"]))
    if not finished:
        print("The time was up before every row was measured.")
    return 1 if any("error" in row for row in rows) else 0


def _ceiling(plan: Plan) -> int:
    return 64 if len(plan.shapes) == 1 else 8192


if __name__ == "__main__":
    raise SystemExit(main())
