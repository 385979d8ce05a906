"""A setting of tiny shapes on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.floors.machines import MACHINES
from benchmarks.gpu.plan import setting_of
from benchmarks.gpu.row import Setting
from benchmarks.shapes import Shape

SHAPE = Shape(8, 16, 8, 6)


def tiny(folder: Path, **changed: Any) -> Setting:
    setting = setting_of("cpu", folder, small=True)
    return replace(setting, **({"seconds": 0.0, "machine": MACHINES[0]} | changed))
