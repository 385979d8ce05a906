"""A setting of tiny shapes on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.floors.machines import MACHINES
from benchmarks.gpu.plan import setting_of
from benchmarks.gpu.row import Facts, Measure, Setting, Workbench
from benchmarks.shapes import Shape

SHAPE = Shape(8, 16, 8, 6)


def tiny(folder: Path, **changed: Any) -> Setting:
    setting = setting_of("cpu", folder, small=True)
    given = {"seconds": 0.0, "machine": MACHINES[0], "uncompiled": "not compiled"}
    return replace(setting, **(given | changed))


def facts_of(measure: Measure, setting: Setting) -> list[Facts]:
    """A bench as a row finds it in a process of its own."""
    return [*measure.prepare(Workbench(setting))()]
