"""Rows that are measured in one process, and what that process does."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.gate import RedGate, error_line
from benchmarks.gpu.rivals import tune_in_turns
from benchmarks.gpu.row import Row, Setting, Workbench
from benchmarks.gpu.turns import Turns

CORES_EACH = 2  # the machine's cores per process that prepares


@dataclass
class Family:
    """Rows of one family that are still to be measured.

    Attributes:
        name: unique among the families.
        rows: the most wanted first.
        uncompiled: why the rivals are not compiled; None: they are.
        retried: whether the rows are measured in a second process, since the first one failed.
        alone: whether no other process may live beside the next one, since memory ran out.
    """

    name: str
    rows: list[Row]
    uncompiled: str | None = None
    retried: bool = False
    alone: bool = False

    @property
    def compiles(self) -> bool:
        """Whether the next process compiles a rival."""
        return self.uncompiled is None and any(row.measure.rival for row in self.rows)

    @property
    def restart(self) -> float:
        """Seconds before the end at which a process that still compiles is started anew."""
        return max((row.measure.rival.restart for row in self.rows if row.measure.rival), default=0)


def families_of(rows: Sequence[Row], uncompiled: str | None = None) -> list[Family]:
    """The families of the rows, in the order of their most wanted rows."""
    found: dict[str, Family] = {}
    for row in rows:
        name = row.measure.family
        found.setdefault(name, Family(name, [], uncompiled)).rows.append(row)
    return list(found.values())


def processes_at_once() -> int:
    """How many processes prepare at a time."""
    return max(2, (os.cpu_count() or 1) // CORES_EACH)


def measure_family(rows: Sequence[Row], setting: Setting, turns: Turns) -> None:
    """Prepare and measure row by row; for a process of its own.

    Sends the facts of each row, and ("row", None or why the row has no ratio) after them.
    """
    torch.set_num_threads(min(torch.get_num_threads(), CORES_EACH))
    if setting.uncompiled is None and any(row.measure.rival for row in rows):
        tune_in_turns(turns.turn)
    bench = Workbench(setting)
    gc.freeze()  # what was imported stays, and need not be looked through after every row
    for number, row in enumerate(rows):
        problem = None
        try:
            measure = row.measure.prepare(bench)
            _tidy(setting.device)
            if number == 0:  # what a compiler left stays too
                gc.freeze()
            with turns.turn(row.name):
                for facts in measure():
                    turns.send("facts", facts)
                del measure
                _tidy(setting.device)
        except RedGate as error:
            problem = error_line(error)
        turns.send("row", problem)


def _tidy(device: str) -> None:
    """Free graphs and memory that are left behind, for other processes."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
