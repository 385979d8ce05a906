"""Which kernels a step launches, how often and for how long; torch's profiler and ncu."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.environment import ROOT
from benchmarks.gpu.rivals import DenseBlock, DenseModel, cudnn_search
from benchmarks.gpu.row import Facts, Measurement, Setting, Workbench
from benchmarks.inputs import BlockCase, block_case
from benchmarks.measure import WARM_RUNS, Run
from benchmarks.models import draw_batch, make_model, model_run
from benchmarks.shapes import DTYPES, HEADLINE_P, Clips, Shape
from benchmarks.steps import block_run, dense_run

STEPS = 3  # steps that a profile averages over
MOST_KERNELS = 40  # the longest kernels of a profile, which are kept
SECTIONS = ("SpeedOfLight", "LaunchStats", "Occupancy", "ComputeWorkloadAnalysis")


def case_at(bench: Workbench, shape: Shape, p: float, dtype: str) -> BlockCase:
    """The case of a shape, drawn once: weights and maps are the same at every p."""
    frames, device = bench.setting.frames, bench.setting.device
    case = bench.once(
        f"case {shape} {dtype}", lambda: block_case(shape, p, DTYPES[dtype], frames, device)
    )
    case.block.p = p
    return case


def kernels(run: Run, device: str) -> list[dict[str, Any]]:
    """Every kernel, copy and fill of one step: name, µs and number, the longest first.

    On a CPU, torch's ops with their own time.
    """
    for _ in range(WARM_RUNS):
        run()
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    if device == "cuda":
        torch.cuda.synchronize()
    with profile(activities=[activity], acc_events=True) as profiler:
        for _ in range(STEPS):
            run()
        if device == "cuda":
            torch.cuda.synchronize()
    found: dict[str, dict[str, Any]] = {}
    for event in profiler.events() or ():
        if device == "cuda" and event.device_type != DeviceType.CUDA:
            continue
        took = event.time_range.elapsed_us() if device == "cuda" else event.self_cpu_time_total
        kernel = found.setdefault(event.name, {"name": event.name, "us": 0.0, "count": 0.0})
        kernel["us"] += took / STEPS
        kernel["count"] += 1 / STEPS
    return sorted(found.values(), key=lambda kernel: -kernel["us"])


def launches(run: Run, device: str) -> int:
    """How many kernels, copies and fills one step launches."""
    return round(sum(kernel["count"] for kernel in kernels(run, device)))


def _facts(what: str, shape: str, p: float | None, of: list[dict[str, Any]]) -> Facts:
    return {
        "group": "time per kernel",
        "what": what,
        "shape": shape,
        "p": p,
        "dtype": "bfloat16",
        "total_us": sum(kernel["us"] for kernel in of),
        "launches": round(sum(kernel["count"] for kernel in of)),
        "kernels": of[:MOST_KERNELS],
    }


@dataclass(frozen=True)
class BlockKernels:
    """Kernels of a block and of the dense one, half of the sites kept."""

    shape: Shape
    train: bool
    rival = None

    @property
    def name(self) -> str:
        """Unique among the rows."""
        return f"kernels of {'training step' if self.train else 'inference'} {self.shape}"

    @property
    def family(self) -> str:
        """With the rows that time this block."""
        return DenseBlock(self.shape, "bfloat16", self.train).name

    def prepare(self, bench: Workbench) -> Measurement:
        """Compile the sparse block."""
        case, dtype = case_at(bench, self.shape, HEADLINE_P, "bfloat16"), DTYPES["bfloat16"]
        sides = {"ours": block_run(case, dtype, self.train)}
        sides["dense"] = dense_run(case, dtype, self.train)
        for run in sides.values():
            run()
        return partial(self._measure, sides, bench.setting.device)

    def _measure(self, sides: dict[str, Run], device: str) -> Iterator[Facts]:
        """The sparse block's kernels, then the dense block's."""
        kind = "training step" if self.train else "inference"
        for side, run in sides.items():
            with cudnn_search():
                found = kernels(run, device)
            yield _facts(f"{side}, block {kind}", str(self.shape), HEADLINE_P, found)


@dataclass(frozen=True)
class ModelKernels:
    """Kernels of MESM's and of FE2E's training step."""

    clips: Clips
    rival = None

    @property
    def name(self) -> str:
        """Unique among the rows."""
        return f"kernels of MESM training step {self.clips.count} clips"

    @property
    def family(self) -> str:
        """With the rows that time this batch."""
        return DenseModel(self.clips, "bfloat16", True).name

    def prepare(self, bench: Workbench) -> Measurement:
        """Compile MESM."""
        setting, sides = bench.setting, {}
        batch = bench.once("batch", lambda: draw_batch(self.clips).to(setting.device))
        for side in ("MESM", "FE2E"):
            model = make_model(side, setting.channels).to(setting.device).train()
            sides[side] = model_run(model, batch, torch.bfloat16, True)
            sides[side]()
        return partial(self._measure, sides, setting.device)

    def _measure(self, sides: dict[str, Run], device: str) -> Iterator[Facts]:
        """MESM, then FE2E."""
        for side, run in sides.items():
            with cudnn_search():
                found = kernels(run, device)
            yield _facts(f"{side} training step", f"{self.clips.count} clips", None, found)


@dataclass(frozen=True)
class Counters:
    """Hardware counters of a shape's convolutions, where Nsight Compute is installed."""

    shape: Shape
    rival = None

    @property
    def name(self) -> str:
        """Unique among the rows."""
        return f"ncu on convolutions {self.shape}"

    @property
    def family(self) -> str:
        """A family of one: ncu watches a process of its own."""
        return self.name

    def prepare(self, bench: Workbench) -> Measurement:
        """Nothing."""
        return partial(self._measure, bench.setting)

    def _measure(self, setting: Setting) -> Iterator[Facts]:
        """One row with every counter of every kernel."""
        program = [sys.executable, "-m", "benchmarks.gpu.watch", "--device", setting.device]
        program += ["--shape", self.shape.id(), "--frames", str(setting.frames)]
        program += ["--dtype", "bfloat16", "--call", "subm_conv2d", "--profiled"]
        tool = shutil.which("ncu")
        facts: Facts = {
            "group": "counters of convolutions",
            "what": "ncu",
            "shape": str(self.shape),
            "p": HEADLINE_P,
            "dtype": "bfloat16",
        }
        if tool is None or setting.device != "cuda":
            subprocess.run(program, cwd=ROOT, env=os.environ, check=True)
            yield facts | {"counters": [], "notes": {"ncu": "not installed, or no GPU"}}
            return
        # The card's clocks stay unchanged: others may use the card.
        watched = [tool, "--csv", "--clock-control", "none", "--profile-from-start", "off"]
        for section in SECTIONS:
            watched += ["--section", section]
        done = subprocess.run(
            [*watched, *program], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        yield facts | {"counters": read_counters(done.stdout)}


def read_counters(text: str) -> list[dict[str, Any]]:
    """Each launch's kernel and counters by name, from the output of `ncu --csv`."""
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        raise ValueError(f"ncu printed no table: {text[-300:]!r}")
    found: dict[str, dict[str, Any]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines[start:]))):
        if not row.get("Metric Name"):
            continue  # advice, not a counter
        launch = found.setdefault(row["ID"], {"kernel": row["Kernel Name"], "counters": {}})
        unit = f" {row['Metric Unit']}" if row["Metric Unit"] else ""
        launch["counters"][row["Metric Name"]] = f"{row['Metric Value']}{unit}"
    return list(found.values())
