"""Rows of the block: replayed from graphs, and called from Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.floors.cost_model import block_costs, dense_costs
from benchmarks.floors.sizes import block_sizes
from benchmarks.gate import check_block
from benchmarks.gpu.kernels import case_at, launches
from benchmarks.gpu.rivals import DenseBlock, cudnn_search
from benchmarks.gpu.row import Facts, Measurement, PassRow, Setting, Workbench, of_dense, timed
from benchmarks.inputs import BlockCase
from benchmarks.measure import Run, host_us, peak_memory
from benchmarks.shapes import DTYPES, Shape
from benchmarks.steps import block_run


@dataclass(frozen=True)
class BlockRow(PassRow[Shape]):
    """One block at one p."""

    sparse = "block"

    @property
    def shape(self) -> str:
        """Channels, height and width."""
        return str(self.size)

    @property
    def rival(self) -> DenseBlock:
        """The dense block that this row compares with."""
        return DenseBlock(self.size, self.dtype, self.train)

    def prepare(self, bench: Workbench) -> Measurement:
        """Compile both sides, and run all that the gate will run."""
        setting, dtype = bench.setting, DTYPES[self.dtype]
        case = case_at(bench, self.size, self.p, self.dtype)
        ours = block_run(case, dtype, self.train)
        ours()
        facts = self._facts(setting, case)
        bench.once("gate", lambda: check_block(case, dtype, self.train))
        rivals, notes = bench.once(
            self.rival.name, lambda: self.rival.of(case).sides(setting.uncompiled)
        )
        return partial(self._measure, setting, case, ours, rivals, facts | {"notes": notes})

    def _measure(
        self, setting: Setting, case: BlockCase, ours: Run, rivals: Mapping[str, Run], facts: Facts
    ) -> Iterator[Facts]:
        """Check, then time."""
        device = setting.device
        facts["gate_error"] = check_block(case, DTYPES[self.dtype], self.train)
        with cudnn_search():
            if self.train:
                for run in (ours, *rivals.values()):
                    run()  # from now on every parameter has a gradient
                facts["peak_mib"] = peak_memory(ours, device)
                peaks = {name: peak_memory(run, device) for name, run in rivals.items()}
                facts |= {"dense_peak_mib": peaks["eager"], "rivals_peak_mib": peaks}
                facts |= of_dense(facts)
            facts |= timed(setting, ours, rivals, self.graph)
            if not self.graph:
                facts |= self._host(ours, rivals["eager"], device)
        yield facts

    def _host(self, ours: Run, dense: Run, device: str) -> Facts:
        sides = {"": ours, "rival_": dense}
        facts: Facts = {f"{side}host_us": host_us(run, device) for side, run in sides.items()}
        # Last, because launches may take longer once a profiler has run.
        return facts | {f"{side}launches": launches(run, device) for side, run in sides.items()}

    def _facts(self, setting: Setting, case: BlockCase) -> Facts:
        counted = block_sizes(case, self.size, DTYPES[self.dtype])
        cost, dense = block_costs(counted)[self.kind], dense_costs(counted)[self.kind]
        facts: Facts = {
            "group": f"{self.what}, {self.dtype}, {setting.frames} frames",
            **self.described(setting.frames),
            "density": counted.kept / counted.rows,
            "flops": cost.flops,
            "dense_flops": dense.flops,
            "bytes": cost.bytes,
        }
        if setting.machine:
            facts["floor_us"] = cost.floor_us(setting.machine, self.dtype)
            facts["dense_floor_us"] = dense.floor_us(setting.machine, self.dtype)
        return facts
