"""Rows of the convolutions alone: every candidate, every pass, against cuDNN on whole maps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.floors.sizes import sizes_of
from benchmarks.gate import RedGate, check_conv2d, check_conv2d_gradients, error_line
from benchmarks.gpu.candidates import Sites, candidates
from benchmarks.gpu.row import Facts, Measurement, Setting, Workbench, timed
from benchmarks.inputs import ConvolutionCase, convolution_case
from benchmarks.measure import Run
from benchmarks.shapes import DTYPES, HALF, Shape

PASSES = ("forward", "input gradient", "weight gradient")


@dataclass(frozen=True)
class ConvolutionRow:
    """One candidate on one shape, in its three passes."""

    candidate: str
    shape: Shape
    family: str = "convolutions"
    density: float = HALF
    dtype: str = "bfloat16"
    rival = None

    @property
    def name(self) -> str:
        """Unique among the rows."""
        return f"convolutions {self.candidate} {self.shape} density={self.density:g} {self.dtype}"

    @torch.no_grad()
    def prepare(self, bench: Workbench) -> Measurement:
        """Compile the three passes, and run all that the gates will run."""
        from mesm_ops import SparseFeatureMaps

        setting, dtype = bench.setting, DTYPES[self.dtype]
        case = convolution_case(self.shape, self.density, dtype, setting.frames, setting.device)
        x = SparseFeatureMaps.from_dense(case.maps, case.mask)
        at = Sites(x.sites, x.offsets, x.height, x.width)
        candidate = candidates()[self.candidate]
        upstream = torch.randn_like(F.conv2d(case.maps, case.weight, padding=1))
        grad = SparseFeatureMaps.from_dense(upstream, case.mask).features

        def dense(features: Tensor) -> Tensor:
            return x.with_features(features).to_dense()

        ours: dict[str, Callable[[], Tensor]] = {
            "forward": lambda: candidate.forward(x.features, at, case.weight),
            "input gradient": lambda: candidate.input_gradient(grad, x.features, at, case.weight),
            "weight gradient": lambda: candidate.weight_gradient(grad, x.features, at, case.weight),
        }
        gates: dict[str, Callable[[], float]] = {
            "forward": lambda: check_conv2d(dense(ours["forward"]()), *_inputs(case)),
            "input gradient": lambda: check_conv2d_gradients(
                {"input": dense(ours["input gradient"]())}, upstream, *_inputs(case)
            ),
            "weight gradient": lambda: check_conv2d_gradients(
                {"weight": ours["weight gradient"]()}, upstream, *_inputs(case)
            ),
        }
        for run in (*ours.values(), *gates.values()):
            with contextlib.suppress(RedGate):  # which is told where the pass would be timed
                run()
        rivals = _dense_passes(case, upstream)
        channels = 2 * self.shape.in_channels * self.shape.out_channels
        pairs = sizes_of(case.mask, self.shape, 1, dtype.itemsize).pairs
        shared: Facts = {
            "shape": str(self.shape),
            "frames": setting.frames,
            "p": None,
            "dtype": self.dtype,
            "density": self.density,
            "flops": channels * pairs,
            "dense_flops": channels * 9 * setting.frames * self.shape.sites,
        }
        return partial(self._measure, setting, ours, gates, rivals, shared)

    @torch.no_grad()
    def _measure(
        self,
        setting: Setting,
        ours: Mapping[str, Run],
        gates: Mapping[str, Callable[[], float]],
        rivals: Mapping[str, Run],
        shared: Facts,
    ) -> Iterator[Facts]:
        """Check and time one pass after the other."""
        for which in PASSES:
            facts = {
                "group": f"convolutions, {which}, {self.dtype}, {setting.frames} frames",
                "what": f"convolutions {self.candidate}, {which}",
                **shared,
            }
            try:
                facts["gate_error"] = gates[which]()
            except RedGate as error:
                yield facts | {"error": error_line(error)}
                continue
            facts |= timed(setting, ours[which], {"eager": rivals[which]})
            yield facts | {"tflop_per_s": facts["flops"] / facts["ms"] / 1e9}


def rows(shapes: tuple[Shape, ...]) -> list[ConvolutionRow]:
    """Both convolutions of each block by every candidate, in one family with the block's ops."""
    every = [(shape, each) for shape in shapes for each in (shape, shape.second())]
    return [
        ConvolutionRow(name, each, f"ops {shape}") for shape, each in every for name in candidates()
    ]


def _inputs(case: ConvolutionCase) -> tuple[Tensor, Tensor, Tensor]:
    return case.maps, case.mask, case.weight


def _dense_passes(case: ConvolutionCase, upstream: Tensor) -> dict[str, Run]:
    weight = case.weight.contiguous(memory_format=torch.channels_last)
    upstream = upstream.contiguous(memory_format=torch.channels_last)
    fixed = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)

    def gradients(*needs: bool) -> Run:
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(upstream, case.maps, weight, *fixed, list(needs))

    return {
        "forward": lambda: F.conv2d(case.maps, weight, padding=1),
        "input gradient": gradients(True, False, False),
        "weight gradient": gradients(False, True, False),
    }
