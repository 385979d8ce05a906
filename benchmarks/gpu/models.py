"""Rows of MESM against FE2E, both whole, on one batch of clips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.environment import ROOT
from benchmarks.gpu.rivals import DenseModel, cudnn_search
from benchmarks.gpu.row import Facts, Measurement, PassRow, Setting, Workbench, of_dense, timed
from benchmarks.measure import Run, count_flops, peak_memory
from benchmarks.models import check_model, densities, draw_batch, make_model, model_run
from benchmarks.shapes import DTYPES, Clips


@dataclass(frozen=True)
class ModelRow(PassRow[Clips]):
    """MESM at one p on a batch of so many clips."""

    sparse = "MESM"

    @property
    def shape(self) -> str:
        """How many clips."""
        return f"{self.size.count} clips"

    @property
    def rival(self) -> DenseModel:
        """The dense model that this row compares with."""
        return DenseModel(self.size, self.dtype, self.train)

    def prepare(self, bench: Workbench) -> Measurement:
        """Compile both models, and run all that the gate will run."""
        setting, dtype, train = bench.setting, DTYPES[self.dtype], self.train
        device, channels = setting.device, setting.channels
        batch = bench.once("batch", lambda: draw_batch(self.size).to(device))
        sparse = make_model("MESM", channels, p=self.p).to(device).train(train)
        dense = bench.once("FE2E", lambda: make_model("FE2E", channels).to(device).train(train))
        ours = model_run(sparse, batch, dtype, train)
        ours()

        def check() -> Facts:
            return {
                **densities(sparse, batch, dtype),
                "flops": _flops(sparse, batch),
                "gate_error": check_model(sparse, batch, dtype, train),
            }

        bench.once("check", check)
        facts: Facts = {
            "group": f"{self.what} against FE2E, {self.dtype}, {self.size}",
            **self.described(self.size.frames),
            "dense_flops": bench.once("FE2E's FLOPs", lambda: _flops(dense, batch)),
        }
        rivals, facts["notes"] = bench.once(
            self.rival.name, lambda: self.rival.of(dense, batch).sides(setting.uncompiled)
        )
        return partial(self._measure, setting, check, ours, rivals, facts)

    def _measure(
        self,
        setting: Setting,
        check: Callable[[], Facts],
        ours: Run,
        rivals: Mapping[str, Run],
        facts: Facts,
    ) -> Iterator[Facts]:
        """Check, then time."""
        facts |= check()
        with cudnn_search():
            if self.train:
                for run in (ours, rivals["eager"]):
                    run()
                facts["peak_mib"] = peak_memory(ours, setting.device)
                facts["dense_peak_mib"] = peak_memory(rivals["eager"], setting.device)
                facts |= of_dense(facts)
            facts |= timed(setting, ours, rivals, self.graph)
        yield facts | {"rival": facts["rival"].replace("dense", "FE2E")}


def _flops(model: torch.nn.Module, batch: Any) -> int:
    # In float32: torch's fused encoder layer does not run under a counter and autocast together.
    return count_flops(model_run(model, batch, torch.float32, model.training))


@dataclass(frozen=True)
class FirstStep:
    """MESM's first training step in a fresh process, without caches of kernels and with them."""

    clips: Clips

    name = "first training step of MESM"
    rival = None

    @property
    def family(self) -> str:
        """A family of one."""
        return self.name

    def prepare(self, bench: Workbench) -> Measurement:
        """Run `benchmarks.gpu.first_step` twice, the second time with the first one's caches.

        Without a turn: for nearly all of the time the step compiles. Other rows may do so on the
        same cores, and the figure is then too high: alone, ask for this row by `--only`.
        """
        found = [*self._steps(bench.setting)]
        return lambda: iter(found)

    def _steps(self, setting: Setting) -> Iterator[Facts]:
        with tempfile.TemporaryDirectory() as folder:
            places = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME")
            caches = {place: f"{folder}/{place.lower()}" for place in places}
            command = [sys.executable, "-m", "benchmarks.gpu.first_step"]
            command += ["--device", setting.device, "--clips", str(self.clips.count)]
            if setting.channels:
                command += ["--channels", *map(str, setting.channels)]
            for empty in (True, False):
                done = subprocess.run(
                    command,
                    cwd=ROOT,
                    env=os.environ | caches,
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                found = json.loads(done.stdout.splitlines()[-1])
                yield {
                    "group": "first training step of MESM in a fresh process",
                    "what": f"first step, {'empty' if empty else 'filled'} caches",
                    "shape": f"{self.clips.count} clips",
                    "p": None,
                    "dtype": "bfloat16",
                    **found,
                    ("cold_s" if empty else "warm_s"): found["first_step_s"],
                }
