"""Dense PyTorch as a rival on a GPU: channels-last, eager and compiled with max-autotune."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gate import autocast, error_line
from benchmarks.gpu_calls import Call
from benchmarks.gpu_timing import Deadline, replayable
from benchmarks.measure import Run

# As "max-autotune", which then also replays a graph; here every side is replayed by us.
COMPILE_MODE = "max-autotune-no-cudagraphs"
COMPILE_SECONDS = 40.0  # what is left of the time when no further compilation begins


@dataclass
class Rivals:
    """The dense runs of one shape, dtype and kind of step."""

    runs: dict[str, Run] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # how each is run, or why it is not


def dense_rivals(
    make: Callable[[Callable[..., Any]], Run],
    module: torch.nn.Module,
    device: str,
    deadline: Deadline,
    compiled: bool,
) -> Rivals:
    """Return a module's run in eager mode and compiled, each as a graph.

    Args:
        make: turns a callable module into a run.
        module: the dense one.
        device: "cuda" or "cpu".
        deadline: compiles only while there is time.
        compiled: whether to compile at all.
    """
    # cuDNN may try its algorithms, as its users would let it.
    torch.backends.cudnn.benchmark = True
    found = Rivals()
    found.runs["eager"], found.notes["eager"] = replayable(make(module), device)
    name = "max-autotune"
    if not compiled or deadline.left() < COMPILE_SECONDS:
        found.notes[name] = "not compiled: " + ("no time left" if compiled else "not asked for")
        return found
    start = time.perf_counter()
    try:
        torch._dynamo.reset()
        run, how = replayable(make(torch.compile(module, mode=COMPILE_MODE)), device)
    except Exception as error:  # whatever the compiler meets is no reason to stop measuring
        found.notes[name] = f"not compiled: {error_line(error)}"
        return found
    found.runs[name] = run
    found.notes[name] = f"{how}; compiled in {time.perf_counter() - start:.0f} s"
    return found


def inference_run(forward: Callable[[Tensor], Any], maps: Tensor, dtype: torch.dtype) -> Run:
    """One forward pass without gradients."""
    device = maps.device.type

    @torch.no_grad()
    def run() -> Any:
        with autocast(dtype, device):
            return forward(maps)

    return run


def training_run(
    module: torch.nn.Module,
    forward: Callable[[Tensor], Tensor],
    maps: Tensor,
    dtype: torch.dtype,
) -> Run:
    """Forward and backward pass, the maps' gradient included, as inside a network."""
    device = maps.device.type
    with torch.no_grad(), autocast(dtype, device):
        upstream = torch.randn_like(forward(maps))
    leaf = maps.detach().requires_grad_()

    def run() -> None:
        module.zero_grad(set_to_none=True)
        leaf.grad = None
        with autocast(dtype, device):
            out = forward(leaf)
        out.backward(upstream)

    return run


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
    """Channels-last maps of as many values as the padded rows."""
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
    side = features.shape[0] // frames  # as many positions; how they lie does not matter
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
