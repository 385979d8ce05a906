"""Rows of the GPU benchmark, and the setting in which they are measured."""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from benchmarks.floors.machines import MACHINES, Machine
from benchmarks.gpu.rivals import Rival, cudnn_search, kind_of
from benchmarks.measure import WARM_RUNS, Run, compare, in_turns, replayable, rounds_within
from benchmarks.shapes import (
    AUDIO_BLOCKS,
    FACE_BLOCKS,
    FRAMES,
    LONG_BATCHES,
    LOW_P,
    OTHER_P,
    Clips,
    Shape,
)

Facts = dict[str, Any]
T = TypeVar("T")
Size = TypeVar("Size", Shape, Clips)


@dataclass(frozen=True)
class Setting:
    """The device, the sizes and the times with which rows are measured.

    Attributes:
        folder: the folder of results, logs and caches.
        seconds: how long each side of a row is timed.
        uncompiled: why rivals are not compiled; None: they are.
        low_p, other_p: at which block and model are measured besides the headline's and 1.
        channels: widths of the models; None: the paper's.
        machine: the cost model's figures for the GPU, if it has them.
    """

    folder: Path
    device: str = "cuda"
    face: tuple[Shape, ...] = FACE_BLOCKS
    audio: tuple[Shape, ...] = AUDIO_BLOCKS
    frames: int = FRAMES["cuda"]
    batches: tuple[Clips, ...] = LONG_BATCHES
    low_p: tuple[float, ...] = LOW_P
    other_p: tuple[float, ...] = OTHER_P
    channels: tuple[int, ...] | None = None
    seconds: float = 0.15
    uncompiled: str | None = None
    machine: Machine | None = None


class Workbench:
    """Shared by the rows of one process: the setting, and things that are made once."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._made: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returned when this name was first asked for."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made


Measurement = Callable[[], Iterator[Facts]]


class Measure(Protocol):
    """How a row is measured."""

    @property
    def name(self) -> str:
        """Unique among the rows."""

    @property
    def rival(self) -> Rival | None:
        """The dense side that the row compares with, if that takes long to compile."""

    @property
    def family(self) -> str:
        """Rows of one family are measured in one process, and share what is made there."""

    def prepare(self, bench: Workbench) -> Measurement:
        """Build and compile while other processes do the same, or time.

        Returns:
            Called in a turn on the device, yields facts; each becomes a row of the results.
        """


@dataclass(frozen=True)
class PassRow(ABC, Generic[Size]):
    """Inference or a training step of one size at one p, against a dense rival.

    Attributes:
        size: of the block, or of the batch.
        train: a training step; else inference.
        p: of the sparse side.
        dtype: a key of `DTYPES`.
        graph: replayed from a CUDA graph; else called from Python.
    """

    size: Size
    train: bool
    p: float
    dtype: str = "bfloat16"
    graph: bool = True

    sparse: ClassVar[str]  # the sparse side's name

    @property
    @abstractmethod
    def rival(self) -> Rival:
        """The dense side that this row compares with."""

    @property
    @abstractmethod
    def shape(self) -> str:
        """The size, as rows are told apart by it."""

    @property
    def kind(self) -> str:
        """The pass, as cost models call it."""
        return f"{self.sparse} {kind_of(self.train)}"

    @property
    def what(self) -> str:
        """The group of rows that this row belongs to."""
        return self.kind if self.graph else f"eager {self.kind}"

    @property
    def name(self) -> str:
        """Unique among the rows."""
        return f"{self.what} {self.shape} p={self.p:g} {self.dtype}"

    @property
    def family(self) -> str:
        """As `Measure.family`."""
        return self.rival.name

    def described(self, frames: int) -> Facts:
        """The facts that tell this row, of so many frames, from others."""
        return {
            "what": self.what,
            "shape": self.shape,
            "frames": frames,
            "p": self.p,
            "dtype": self.dtype,
        }


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        measure: measures.
        limit: seconds after which a turn is stopped.
        preparation: seconds after which the preparation is stopped.
        goals: bounds of the facts: a lower bound for "ratio", upper bounds for the others.
    """

    measure: Measure
    limit: float = 60.0
    preparation: float = 120.0
    goals: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Unique, and matched by --only."""
        return self.measure.name


def of_dense(facts: Facts) -> Facts:
    """The peak memory of a step as a share of dense's, where both are known."""
    if not facts["peak_mib"] or not facts["dense_peak_mib"]:
        return {}
    return {"peak_of_dense": facts["peak_mib"] / facts["dense_peak_mib"]}


def machine_of(name: str) -> Machine | None:
    """The cost model's figures for a GPU of this name, if it has them."""
    return next((m for m in MACHINES if m.name in name or m.name.split()[0] in name), None)


def timed(setting: Setting, ours: Run, rivals: Mapping[str, Run], graph: bool = True) -> Facts:
    """Times of the sparse side and of the best rival, in turns, and every rival's time.

    Args:
        setting: the device and the time for a row.
        ours: the sparse side.
        rivals: at least one run, by name.
        graph: replay CUDA graphs; else call from Python as a program would.
    """
    runs, how = {}, {}
    with cudnn_search():
        for name, run in {"ours": ours, **rivals}.items():
            if graph:
                runs[name], how[name] = replayable(run, setting.device)
                continue
            for _ in range(WARM_RUNS):
                run()
            runs[name], how[name] = run, "call"
        seconds = in_turns(runs, setting.device, rounds_within(setting.seconds * len(runs)))
    mine = seconds.pop("ours")
    medians = {name: statistics.median(times) * 1e3 for name, times in seconds.items()}
    best = min(medians, key=lambda name: medians[name])
    return {
        **compare(mine, seconds[best]),
        "rival": f"dense {best}",
        "rivals_ms": medians,
        "how": how,
    }
