"""The rows of the GPU benchmark, the most wanted first, with their goals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu import convolutions
from benchmarks.gpu.block import BlockRow
from benchmarks.gpu.faces import FaceDetection
from benchmarks.gpu.kernels import BlockKernels, Counters, ModelKernels
from benchmarks.gpu.models import FirstStep, ModelRow
from benchmarks.gpu.ops import Ceilings, OpsRow
from benchmarks.gpu.row import Measure, Row, Setting
from benchmarks.shapes import HEADLINE_P, LOW_P, Clips, Shape

# Goals of the design: dense time over sparse time, in graphs, bfloat16.
INFERENCE_GOAL, TRAINING_GOAL = 2.0, 1.5
LOW_P_GOALS = (3.5, 3.0)  # inference, training step
FULL_P_GOAL = 0.9
MODEL_GOALS = (1.7, 1.5)  # 64 clips
EAGER_MODEL_GOALS = (1.5, 1.3)
EAGER_GOALS = {"launches": 25, "host_us": 600.0}
FIRST_STEP_GOALS = {"cold_s": 20.0, "warm_s": 3.0}
MODEL_SECONDS = (120.0, 240.0)  # the most for a turn and a preparation of whole models


def setting_of(device: str, folder: Path, small: bool) -> Setting:
    """How rows are measured: at full size, or so small that a CPU rehearses them in a minute."""
    if not small:
        return Setting(folder, device)
    return Setting(
        folder,
        device,
        face=(Shape(8, 16, 8, 6),),
        audio=(Shape(8, 16, 8, 4),),
        frames=4,
        batches=(Clips(2, faces=2, chunks=2, tokens=5),),
        low_p=LOW_P[:1],
        other_p=(),
        channels=(8, 8, 16, 16),
        seconds=0.001,
    )


def rows(setting: Setting) -> list[Row]:
    """All rows of a setting, in the order in which they are measured."""
    return [*_rows(setting)]


def chosen(rows: list[Row], expression: str | None) -> list[Row]:
    """The rows whose name matches the regular expression, in which "->" may stand for "→".

    Raises:
        ValueError: no name matches, or the expression is invalid.
    """
    if expression is None:
        return rows
    try:
        wanted = re.compile(expression.replace("->", "→"))
    except re.error as error:
        raise ValueError(f"--only {expression!r} is no regular expression: {error}") from error
    found = [row for row in rows if wanted.search(row.name)]
    if not found:
        raise ValueError(f"--only {expression!r} fits the name of no row; --list prints them")
    return found


def _rows(setting: Setting) -> Iterator[Row]:
    face, audio, batches = setting.face, setting.audio, setting.batches
    yield _row(Ceilings())
    for train in (False, True):
        goal = TRAINING_GOAL if train else INFERENCE_GOAL
        for shape in face:
            goals = {"ratio": goal} | ({"peak_of_dense": 1.0} if train else {})
            yield _row(BlockRow(shape, train, HEADLINE_P), goals)
    for shape in face:
        yield _row(BlockRow(shape, True, HEADLINE_P, graph=False), EAGER_GOALS)
    yield from _models(batches)
    yield _row(FirstStep(batches[0]), FIRST_STEP_GOALS, MODEL_SECONDS)
    for p in setting.low_p:
        for train in (False, True):
            for shape in face:
                yield _row(BlockRow(shape, train, p), {"ratio": LOW_P_GOALS[train]})
    for shape in face:
        for train in (True, False):
            yield _row(BlockKernels(shape, train))
    for train in (False, True):
        for shape in face:
            yield _row(BlockRow(shape, train, 1.0), {"ratio": FULL_P_GOAL})
    for row in convolutions.rows(face):
        yield _row(row)
    for p in setting.other_p:
        for train in (False, True):
            for shape in face:
                yield _row(BlockRow(shape, train, p))
    for train in (False, True):
        for shape in face:
            yield _row(BlockRow(shape, train, HEADLINE_P, "float32"))
    for train in (False, True):
        for shape in audio:
            yield _row(BlockRow(shape, train, HEADLINE_P))
    yield _row(FaceDetection())
    for shape in face:
        yield _row(OpsRow(shape))
    yield _row(ModelKernels(batches[-1]), seconds=MODEL_SECONDS)
    for p in (*setting.low_p, *setting.other_p, 1.0):
        for train in (False, True):
            yield _row(ModelRow(batches[-1], train, p), seconds=MODEL_SECONDS)
    for train in (False, True):
        yield _row(ModelRow(batches[-1], train, HEADLINE_P, "float32"), seconds=MODEL_SECONDS)
    for shape in face:  # last: ncu runs each kernel many times, and none may be timed meanwhile
        yield _row(Counters(shape))


def _models(batches: tuple[Clips, ...]) -> Iterator[Row]:
    for clips in reversed(batches):  # the largest batch has the goals
        for graph in (True, False):
            for train in (False, True):
                goals: dict[str, float] = {}
                if clips == batches[-1]:
                    goals["ratio"] = (MODEL_GOALS if graph else EAGER_MODEL_GOALS)[train]
                    goals |= {"peak_of_dense": 1.0} if train else {}
                row = ModelRow(clips, train, HEADLINE_P, graph=graph)
                yield _row(row, goals, MODEL_SECONDS)


def _row(
    measure: Measure,
    goals: dict[str, float] | None = None,
    seconds: tuple[float, float] = (60.0, 120.0),
) -> Row:
    limit, preparation = seconds
    return Row(measure, limit, preparation, goals or {})
