"""`make bounds`: the block's Triton kernels at full size, each access to memory checked.

Forward and backward pass of a training step under Triton's interpreter, in bfloat16, for the shapes
of the face model's blocks and p = 0.5 and 1. An access outside of a tensor ends the run and names
kernel, argument and offset. The interpreter takes minutes for what a GPU does in a millisecond, so
that frames are few unless asked for.

    python tests/bounds.py                               # 32 frames
    python tests/bounds.py --frames 512 --shape 256x512x6 --p 0.5
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from triton.runtime import interpreter

from mesm_ops import SparseCrossModalBlock, use_backend
from tests.interpreter import as_a_gpu

SHAPES = ("64x128x24", "128x256x12", "256x512x6")  # input and output channels, height and width
QUERY, FRAMES_OF_A_SAMPLE = 768, 8


def step(cin: int, cout: int, side: int, frames: int, p: float) -> torch.Tensor:
    """Return the gradient of the maps after a training step of a block."""
    torch.manual_seed(0)
    block = SparseCrossModalBlock(cin, cout, QUERY, cin, p=p).train()
    torch.nn.init.normal_(block.attention.score.weight)
    maps = torch.randn(frames, cin, side, side).relu().requires_grad_()
    samples = -(-frames // FRAMES_OF_A_SAMPLE)
    lengths = torch.full((samples,), FRAMES_OF_A_SAMPLE)
    lengths[-1] = frames - FRAMES_OF_A_SAMPLE * (samples - 1)
    with use_backend("triton"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = block(maps, torch.randn(samples, QUERY), lengths)
        out.features.float().square().mean().backward()
    assert maps.grad is not None
    return maps.grad


class _Progress:
    """Shows which program of which launch runs."""

    def __init__(self, title: str) -> None:
        self.title, self.launches, self.began = title, 0, time.monotonic()
        self.kernel, self.shown = "", 0.0
        self.call, self.place = (
            interpreter.GridExecutor.__call__,
            interpreter.InterpreterBuilder.set_grid_idx,
        )

    def launch(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.launches, self.kernel = self.launches + 1, executor.fn.__name__
        return self.call(executor, *args, **kwargs)

    def program(self, builder: Any, x: int, y: int, z: int) -> None:
        self.place(builder, x, y, z)
        now = time.monotonic()
        if now - self.shown > (0.5 if sys.stderr.isatty() else 60):
            self.shown = now
            (nx, ny, _), done = builder.grid_dim, x
            text = f"{self.title}: launch {self.launches}, {self.kernel} {done}/{nx}" + (
                f" × {ny}" if ny > 1 else ""
            )
            end = "\r" if sys.stderr.isatty() else "\n"
            print(f"{text}, {now - self.began:.0f} s    ", end=end, file=sys.stderr, flush=True)


def run(shape: tuple[int, int, int], frames: int, p: float) -> None:
    """Run one step; print what was checked and how long it took."""
    cin, cout, side = shape
    title = f"{cin}→{cout} at {side}×{side}, {frames} frames, p = {p:g}"
    progress = _Progress(title)

    def launch(executor: Any, *args: Any, **kwargs: Any) -> Any:
        return progress.launch(executor, *args, **kwargs)

    def program(builder: Any, x: int, y: int, z: int) -> None:
        progress.program(builder, x, y, z)

    with (
        mock.patch.object(interpreter.GridExecutor, "__call__", launch),
        mock.patch.object(interpreter.InterpreterBuilder, "set_grid_idx", program),
    ):
        grad = step(cin, cout, side, frames, p)
    if not grad.isfinite().all() or not grad.any():
        raise SystemExit(f"{title}: the gradient is zero or not finite")
    took = time.monotonic() - progress.began
    print(f"{title}: {progress.launches} launches inside their tensors, {took:.0f} s", flush=True)


def shape_of(text: str) -> tuple[int, int, int]:
    """Read INxOUTxSIDE."""
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"a shape is CINxCOUTxSIDE, as {SHAPES[0]}, got {text!r}")
    cin, cout, side = map(int, parts)
    return cin, cout, side


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--shape", type=shape_of, action="append", metavar="CINxCOUTxSIDE")
    parser.add_argument("--p", type=float, action="append")
    arguments = parser.parse_args()
    if arguments.frames < 1:
        parser.error(f"--frames must be at least 1, got {arguments.frames}")
    torch.set_num_threads(1)
    shapes = arguments.shape or [shape_of(text) for text in SHAPES]
    with as_a_gpu():
        for shape, p in itertools.product(shapes, arguments.p or (0.5, 1.0)):
            run(shape, arguments.frames, p)


if __name__ == "__main__":
    main()
