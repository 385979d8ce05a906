"""Rows of the machine's ceilings, and of every op of a block beside its floor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.calls import Call, calls
from benchmarks.floors.cost_model import op_costs
from benchmarks.floors.sizes import block_sizes
from benchmarks.gpu.kernels import case_at
from benchmarks.gpu.rivals import cudnn_search
from benchmarks.gpu.row import Facts, Measurement, Setting, Workbench
from benchmarks.inputs import BlockCase
from benchmarks.measure import Run, median_ms, replayable
from benchmarks.shapes import DTYPES, HEADLINE_P, Shape

CEILING_SIZE = {"cuda": 8192, "cpu": 64}  # rows of square matrices


@dataclass(frozen=True)
class Ceilings:
    """Rates that the device reaches: a copy, and products of square matrices."""

    name = family = "ceilings"
    rival = None

    def prepare(self, bench: Workbench) -> Measurement:
        """Nothing."""
        return partial(self._measure, bench.setting)

    def _measure(self, setting: Setting) -> Iterator[Facts]:
        """GB/s, bytes read and bytes written counted, and TFLOP/s at torch's setting of tf32."""
        device, size = setting.device, CEILING_SIZE[setting.device]
        source = torch.empty(size * size * 4, device=device)
        target = torch.empty_like(source)
        run, _ = replayable(lambda: target.copy_(source), device)
        found = {"copy_gb_per_s": 2 * source.nbytes / median_ms(run, device, 0.2) / 1e6}
        for name in ("bfloat16", "float32"):
            a, b = (torch.randn(size, size, device=device, dtype=DTYPES[name]) for _ in range(2))
            run, _ = replayable(_product(a, b), device)
            found[f"{name}_tflop_per_s"] = 2 * size**3 / median_ms(run, device, 0.2) / 1e9
        yield {"group": "ceilings", "what": "ceilings", "shape": f"{size}x{size}", **found}


def _product(a: Tensor, b: Tensor) -> Run:
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


@dataclass(frozen=True)
class OpsRow:
    """Every op of one block in order, half of the sites kept."""

    shape: Shape
    dtype: str = "bfloat16"
    rival = None

    @property
    def name(self) -> str:
        """Unique among the rows."""
        return f"ops {self.shape} {self.dtype}"

    @property
    def family(self) -> str:
        """With the convolutions of the shape."""
        return f"ops {self.shape}"

    @torch.no_grad()
    def prepare(self, bench: Workbench) -> Measurement:
        """Compile the ops by running each."""
        case = case_at(bench, self.shape, HEADLINE_P, self.dtype)
        for call in calls(case, DTYPES[self.dtype]):
            call.run()
        return partial(self._measure, bench.setting, case)

    @torch.no_grad()
    def _measure(self, setting: Setting, case: BlockCase) -> Iterator[Facts]:
        """Times, floors, and dense PyTorch's counterpart where there is one; gated elsewhere."""
        device, dtype = setting.device, DTYPES[self.dtype]
        counted = block_sizes(case, self.shape, dtype)
        costs = op_costs(counted)
        for call in calls(case, dtype):
            cost = costs[call.name]
            facts: Facts = {
                "group": f"ops, {self.dtype}, {setting.frames} frames, p = {HEADLINE_P}",
                "what": call.name,
                "shape": str(self.shape),
                "frames": setting.frames,
                "p": HEADLINE_P,
                "dtype": self.dtype,
                "density": counted.kept / counted.rows,
                "flops": cost.flops,
                "bytes": cost.bytes,
            }
            if setting.machine:
                facts["floor_us"] = cost.floor_us(setting.machine, self.dtype)
            run, facts["how"] = replayable(call.run, device)
            facts["ms"] = median_ms(run, device, setting.seconds / 2)
            if (dense := dense_call(call, setting.frames)) is not None:
                with cudnn_search():
                    run, _ = replayable(dense, device)
                facts["dense_ms"] = median_ms(run, device, setting.seconds / 2)
            yield facts


def dense_call(call: Call, frames: int) -> Run | None:
    """Dense PyTorch's counterpart of an op, on whole maps; None where there is none."""
    op = call.op
    if op.startswith("subm_conv2d"):
        return _convolution(call, frames)
    if op.startswith("sparse_batch_norm"):
        return _norm(call, frames)
    if op == "sparse_max_pool2d":
        _, _, _, height, width, _ = call.args
        maps = _whole(call.args[0], frames, height, width)
        return lambda: F.max_pool2d(maps, 2)
    return None


def _whole(rows: Tensor, frames: int, height: int, width: int) -> Tensor:
    """Channels-last maps with as many values as the padded rows."""
    return torch.randn_like(rows).view(frames, height, width, -1).permute(0, 3, 1, 2)


def _convolution(call: Call, frames: int) -> Run:
    backward = call.op.endswith("_backward")
    grad, features, height, width, weight = (
        (call.args[0], call.args[1], call.args[4], call.args[5], call.args[6])
        if backward
        else (None, call.args[0], call.args[3], call.args[4], call.args[5])
    )
    maps = _whole(features, frames, height, width)
    kernel = weight.contiguous(memory_format=torch.channels_last)
    if not backward:
        return lambda: F.conv2d(maps, kernel, padding=1)
    upstream = _whole(grad, frames, height, width)
    needs = [bool(flag) for flag in call.args[7:]]
    fixed = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, needs)
    return lambda: torch.ops.aten.convolution_backward(upstream, maps, kernel, *fixed)


def _norm(call: Call, frames: int) -> Run:
    """Batch norm with its ReLU; backwards, the gradient through both."""
    backward = call.op.endswith("_backward")
    features, weight, bias = (call.args[i] for i in ((1, 3, 4) if backward else (0, 2, 3)))
    side = features.shape[0] // frames  # sites per frame; the maps' shape does not matter
    maps = _whole(features, frames, side, 1)

    def forward(x: Tensor) -> Tensor:
        return F.relu(F.batch_norm(x, None, None, weight, bias, training=True))

    if not backward:
        return lambda: forward(maps)
    leaf = maps.detach().requires_grad_()
    with torch.enable_grad():
        out = forward(leaf)
    upstream = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, leaf, upstream, retain_graph=True)
