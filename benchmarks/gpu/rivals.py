"""Dense PyTorch as a rival on a GPU: channels-last, eager and compiled.

All rivals are compiled before anything is timed, side by side, into a cache on disk from which the
timing process loads them. Compilers time kernels for tuning; one compiler at a time does so.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from benchmarks.inputs import BlockCase, block_case
from benchmarks.measure import Run
from benchmarks.models import draw_batch, make_model, model_run
from benchmarks.shapes import DTYPES, FACE_BLOCKS, HEADLINE_P, Clips, Shape
from benchmarks.steps import dense_run

# As "max-autotune", without its graph: the benchmark itself replays every side.
THOROUGH = "max-autotune-no-cudagraphs"
# THOROUGH times 18 kernels for each convolution, 10 s in all, and on an H100 chose cuDNN's for the
# face blocks. DEFAULT takes cuDNN's convolutions untimed.
DEFAULT = "default"
RECOMPILATIONS = 64  # FE2E runs one layer on maps of many sizes


@dataclass(frozen=True)
class Dense:
    """A dense module, and a function that makes a run of the module or of its compiled form."""

    module: Any
    run: Callable[[Any], Run]  # given the module or its compiled form
    mode: str = DEFAULT  # torch.compile's mode

    def compiled(self) -> Run:
        """The run of the compiled module; compiles when it runs first."""
        run = self.run(torch.compile(self.module, mode=self.mode, dynamic=False))
        torch._dynamo.config.recompile_limit = RECOMPILATIONS

        def plain() -> object:
            # torch's fused encoder layer does not compile under autocast.
            before = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
            try:
                return run()
            finally:
                torch.backends.mha.set_fastpath_enabled(before)

        return plain

    def sides(self, name: str, compiled: frozenset[str]) -> tuple[dict[str, Run], dict[str, str]]:
        """Runs by name, eager first, and why any is missing.

        Args:
            name: the rival's name.
            compiled: names of the rivals that lie compiled in the cache.
        """
        runs, notes = {"eager": self.run(self.module)}, {}
        if name not in compiled:
            return runs, {"compiled": "not compiled beforehand"}
        start = time.perf_counter()
        run = self.compiled()
        run()
        notes["compiled"] = f"mode {self.mode}, loaded in {time.perf_counter() - start:.0f} s"
        return runs | {"compiled": run}, notes


class Rival(Protocol):
    """A rival that any process can build anew, and compile."""

    @property
    def name(self) -> str:
        """Unique among the rivals."""

    def build(self, frames: int, channels: tuple[int, ...] | None, device: str) -> Dense:
        """The dense module with its inputs."""


@dataclass(frozen=True)
class DenseBlock:
    """The dense block of one shape."""

    shape: Shape
    dtype: str
    train: bool

    @property
    def name(self) -> str:
        """As the rows call it."""
        return f"dense block {_kind(self.train)} {self.shape} {self.dtype}"

    def build(self, frames: int, channels: tuple[int, ...] | None, device: str) -> Dense:
        """As `Rival.build`."""
        return self.of(block_case(self.shape, HEADLINE_P, DTYPES[self.dtype], frames, device))

    def of(self, case: BlockCase) -> Dense:
        """The dense side of a case that is there already."""
        thorough = self.shape in FACE_BLOCKS and self.dtype == "bfloat16"
        return Dense(
            case.rival,
            lambda module: dense_run(case, DTYPES[self.dtype], self.train, module),
            THOROUGH if thorough else DEFAULT,
        )


@dataclass(frozen=True)
class DenseModel:
    """FE2E on a batch of clips."""

    clips: Clips
    dtype: str
    train: bool

    @property
    def name(self) -> str:
        """As the rows call it."""
        return f"FE2E {_kind(self.train)} {self.clips.count} clips {self.dtype}"

    def build(self, frames: int, channels: tuple[int, ...] | None, device: str) -> Dense:
        """As `Rival.build`."""
        model = make_model("FE2E", channels).to(device).train(self.train)
        return self.of(model, draw_batch(self.clips).to(device))

    def of(self, model: Any, batch: Any) -> Dense:
        """The dense side on a batch that is there already."""
        return Dense(
            model,
            lambda module: model_run(module, batch, DTYPES[self.dtype], self.train),
        )


def _kind(train: bool) -> str:
    return "training step" if train else "inference"


def compile_rival(
    rival: Rival,
    frames: int,
    channels: tuple[int, ...] | None,
    device: str,
    threads: int,
    lock: Path,
) -> Iterator[dict[str, Any]]:
    """Compile one rival into the cache; for a process of its own.

    Args:
        rival: the rival to compile.
        frames: how many frames a block has.
        channels: widths of a model; None: the paper's.
        device: "cuda" or "cpu".
        threads: how many kernels are compiled at a time.
        lock: the file that is locked while a kernel is timed.
    """
    from torch._inductor import config

    config.compile_threads = threads
    tune_in_turns(lock)
    torch.backends.cudnn.benchmark = True
    start = time.perf_counter()
    rival.build(frames, channels, device).compiled()()
    if device == "cuda":
        torch.cuda.synchronize()
    yield {"compiled": rival.name, "seconds": time.perf_counter() - start}


def tune_in_turns(lock: Path) -> None:
    """From now on let inductor time a kernel only while this process holds the lock."""
    from torch._inductor.runtime import benchmarking

    kind = type(benchmarking.benchmarker)
    for name in ("benchmark_gpu", "benchmark_gpu_with_cuda_graph"):
        if time_kernel := getattr(kind, name, None):
            setattr(kind, name, _holding(lock, time_kernel))


def _holding(lock: Path, call: Callable[..., Any]) -> Callable[..., Any]:
    def held(*args: Any, **kwargs: Any) -> Any:
        with hold(lock):
            return call(*args, **kwargs)

    return held


_held: set[Path] = set()


@contextlib.contextmanager
def hold(lock: Path) -> Iterator[None]:
    """Lock a file against other processes; nested calls in one process cost nothing."""
    if lock in _held:
        yield
        return
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _held.add(lock)
        yield
    finally:
        _held.discard(lock)
        os.close(descriptor)
