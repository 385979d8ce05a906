"""Dense PyTorch as a rival on a GPU: channels-last, eager and compiled.

A rival is compiled once, in the process that measures all rows with that rival. Compilers time
kernels to choose among them, and do so in turns with all other timing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from benchmarks.gate import error_line
from benchmarks.inputs import BlockCase
from benchmarks.measure import Run
from benchmarks.models import model_run
from benchmarks.shapes import DTYPES, FACE_BLOCKS, Clips, Shape
from benchmarks.steps import dense_run

# As "max-autotune", without its graph: the benchmark itself replays every side.
THOROUGH = "max-autotune-no-cudagraphs"
# THOROUGH times 18 kernels for each convolution, 10 s in all, and on an H100 chose cuDNN's for most
# of the face blocks' convolutions. DEFAULT takes cuDNN's convolutions untimed.
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

    def sides(self, uncompiled: str | None = None) -> tuple[dict[str, Run], dict[str, str]]:
        """Runs by name, eager first and each warm, and notes on the compiled one.

        Args:
            uncompiled: why the module is not to be compiled; None: compile it.
        """
        runs: dict[str, Run] = {"eager": self.run(self.module)}
        runs["eager"]()
        if uncompiled is not None:
            return runs, {"compiled": uncompiled}
        start = time.perf_counter()
        try:
            run = self.compiled()
            run()
        except torch.OutOfMemoryError:  # says nothing about the compiler
            raise
        except Exception as error:
            if "CUDA error" in str(error):  # nothing can be measured in this process any more
                raise
            return runs, {"compiled": f"could not be compiled: {error_line(error)[:300]}"}
        took = time.perf_counter() - start
        return runs | {"compiled": run}, {"compiled": f"mode {self.mode}, compiled in {took:.0f} s"}


class Rival(Protocol):
    """A dense side that rows compare with: rows of one rival are measured in one process."""

    @property
    def name(self) -> str:
        """Unique among the rivals."""

    @property
    def restart(self) -> float:
        """Seconds before the end at which a row stops compiling and is measured without."""


@dataclass(frozen=True)
class DenseBlock:
    """The dense block of one shape."""

    shape: Shape
    dtype: str
    train: bool
    restart = 45.0

    @property
    def name(self) -> str:
        """As the rows call it."""
        return f"dense block {kind_of(self.train)} {self.shape} {self.dtype}"

    def of(self, case: BlockCase) -> Dense:
        """The dense side of a case."""
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
    restart = 75.0

    @property
    def name(self) -> str:
        """As the rows call it."""
        return f"FE2E {kind_of(self.train)} {self.clips.count} clips {self.dtype}"

    def of(self, model: Any, batch: Any) -> Dense:
        """The dense side of a model and a batch."""
        return Dense(
            model,
            lambda module: model_run(module, batch, DTYPES[self.dtype], self.train),
        )


def kind_of(train: bool) -> str:
    """A pass, as rows and rivals call it."""
    return "training step" if train else "inference"


@contextlib.contextmanager
def cudnn_search() -> Iterator[None]:
    """Let cuDNN time its algorithms, as users commonly let it: only in a turn on the device."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def tune_in_turns(turn: Callable[[], AbstractContextManager[None]]) -> None:
    """From now on let inductor time a kernel only in a turn."""
    from torch._inductor.runtime import benchmarking

    kind = type(benchmarking.benchmarker)
    for name in ("benchmark_gpu", "benchmark_gpu_with_cuda_graph"):
        if time_kernel := getattr(kind, name, None):
            setattr(kind, name, _in_a_turn(turn, time_kernel))


def _in_a_turn(
    turn: Callable[[], AbstractContextManager[None]], call: Callable[..., Any]
) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        with turn(), cudnn_search():
            return call(*args, **kwargs)

    return timed
