"""Processes prepare side by side and take turns; one that crashes or hangs costs little."""

from __future__ import annotations

import faulthandler
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gate import RedGate
from benchmarks.gpu import scheduler
from benchmarks.gpu.families import families_of
from benchmarks.gpu.processes import Processes
from benchmarks.gpu.results import Results
from benchmarks.gpu.row import Facts, Measurement, Row, Workbench
from benchmarks.gpu.scheduler import LATE, Scheduler
from benchmarks.gpu.turns import TUNING
from tests.benchmarks.gpu.settings import tiny


@dataclass(frozen=True)
class Rival:
    name: str = "rival"
    restart: float = 0.0


@dataclass(frozen=True)
class Fake:
    """A row that says when it had its turn, or does what its name's second word says."""

    name: str
    family: str = ""
    rival: Rival | None = None
    seconds: float = 0.05

    def prepare(self, bench: Workbench) -> Measurement:
        if self.rival and bench.setting.uncompiled is None:
            self._do("compiling")
        self._do("preparing")
        return lambda: self._measure(bench.setting.uncompiled)

    def _measure(self, uncompiled: str | None) -> Iterator[Facts]:
        began = time.monotonic()
        yield {**self._facts(), "half": True}
        self._do("measuring")
        time.sleep(self.seconds)
        yield {
            **self._facts(),
            "turn": (began, time.monotonic()),
            "process": os.getpid(),
            "notes": {"compiled": uncompiled},
        }

    def _facts(self) -> Facts:
        return {"group": "fake", "what": self.name, "shape": "", "p": None, "ms": 1.0}

    def _do(self, when: str) -> None:
        if when not in self.name:
            return
        if "hang" in self.name:
            time.sleep(600)
        if "crash" in self.name:
            faulthandler.disable()  # pytest's
            os.abort()
        if "red" in self.name:
            raise RedGate("is off")
        if "error" in self.name:
            raise ValueError("wrong")


class Run:
    """Results that a scheduler made of rows, with seconds small enough for a test."""

    def __init__(self, folder: Path, fakes: Sequence[Fake], **options: Any) -> None:
        seconds = options.pop("seconds", 30.0)
        limits = options.pop("limits", (1.0, 1.0))
        rows = [Row(fake, *limits) for fake in fakes]
        self.results = Results(folder / "bench.json", {"name": "a GPU"}, "abc")
        start = time.monotonic()
        defaults = {"at_once": 4, "most": 8, "left": lambda: start + seconds - time.monotonic()}
        self.scheduler = Scheduler(
            Processes("fork"),
            self.results,
            tiny(folder),
            families_of(rows),
            [row.name for row in rows],
            **(defaults | options),
        )
        self.scheduler.run()
        self.took = time.monotonic() - start
        self.whole = {row["row"]: row for row in self.results.rows if "turn" in row}
        self.errors = {row["row"]: row["error"] for row in self.results.rows if "error" in row}

    def pid(self, name: str) -> int:
        pid: int = self.whole[name]["process"]
        return pid


@pytest.fixture(autouse=True)
def _without_inductor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gpu.families.tune_in_turns", lambda turn: None)


def test_families_take_turns_and_no_two_overlap(tmp_path: Path) -> None:
    fakes = [Fake("a1", "a", seconds=0.4), Fake("b1", "b"), Fake("a2", "a"), Fake("b2", "b")]
    run = Run(tmp_path, fakes)
    turns = [run.whole[fake.name]["turn"] for fake in fakes]
    assert turns == sorted(turns)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(turns))
    assert run.pid("a1") == run.pid("a2") != run.pid("b1") == run.pid("b2")


def test_a_wanted_row_that_is_not_ready_holds_nobody_up(tmp_path: Path) -> None:
    run = Run(tmp_path, [Fake("hang while preparing", "a"), Fake("b1", "b"), Fake("b2", "b")])
    assert {"b1", "b2"} == set(run.whole)
    assert run.errors["hang while preparing"] == "not prepared after 1 s"


@pytest.mark.parametrize("how", ["crash", "hang", "error"])
def test_rows_after_a_failure_have_another_process_once(tmp_path: Path, how: str) -> None:
    names = ("a1", f"{how} measuring 1", "a2", f"{how} measuring 2", "a3")
    run = Run(tmp_path, [Fake(name, "a") for name in names] + [Fake("b1", "b")])
    said = {"crash": "died of SIGABRT", "hang": "not done after 1 s", "error": "ValueError: wrong"}
    assert said[how] in run.errors[names[1]]
    assert said[how] in run.errors[names[3]]
    assert run.pid("a1") != run.pid("a2")
    assert run.errors["a3"].startswith(f"not tried, since {names[3]} ended so: ")
    assert "b1" in run.whole
    # Facts found before the failure are kept.
    assert [row for row in run.results.rows if row["row"] == names[1] and "half" in row]


def test_where_the_first_row_crashes_the_others_are_not_tried(tmp_path: Path) -> None:
    run = Run(tmp_path, [Fake("crash measuring", "a"), Fake("a2", "a")])
    assert run.errors["a2"].startswith("not tried, since crash measuring ended so: its process")


@pytest.mark.parametrize("when", ["preparing", "measuring"])
def test_a_red_gate_costs_its_row_alone(tmp_path: Path, when: str) -> None:
    run = Run(tmp_path, [Fake("a1", "a"), Fake(f"red {when}", "a"), Fake("a2", "a")])
    assert run.errors == {f"red {when}": "red gate: is off"}
    assert run.pid("a1") == run.pid("a2")


@pytest.mark.parametrize("how", ["crash", "hang"])
def test_a_compiler_that_fails_is_done_without(tmp_path: Path, how: str) -> None:
    name = f"{how} compiling"
    run = Run(tmp_path, [Fake(name, "a", Rival()), Fake("a2", "a", Rival())])
    assert run.errors == {}
    assert run.whole[name]["notes"]["compiled"].startswith("not compiled: ")
    assert run.pid(name) == run.pid("a2")


def test_what_compiles_near_the_end_is_measured_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "COMPILING", 0.2)
    rival = Rival(restart=9.5)
    fakes = [Fake("hang compiling", "a", rival), Fake("b1", "b"), Fake("c1", "c")]
    run = Run(tmp_path, fakes, seconds=10.0, limits=(60.0, 60.0))
    assert run.errors == {}
    assert run.whole["hang compiling"]["notes"]["compiled"] == LATE
    assert run.whole["b1"]["notes"]["compiled"] is None
    late = Run(tmp_path, [Fake("d1", "d", rival)], seconds=9.0)
    assert late.whole["d1"]["notes"]["compiled"] == LATE  # was not begun


def test_nothing_is_timed_while_tests_run(tmp_path: Path) -> None:
    end = time.monotonic() + 0.7
    run = Run(tmp_path, [Fake("a1", "a"), Fake("b1", "b")], testing=lambda: time.monotonic() < end)
    assert all(row["turn"][0] >= end for row in run.whole.values())


@dataclass(frozen=True)
class Greedy(Fake):
    """Finds no memory at its first try."""

    def prepare(self, bench: Workbench) -> Measurement:
        tried = bench.setting.folder / "tried"
        if not tried.exists():
            tried.touch()
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().prepare(bench)


def test_what_finds_no_memory_is_measured_alone_at_the_end(tmp_path: Path) -> None:
    fakes = [Greedy("g1", "g"), *(Fake(f"{letter}1", letter, seconds=0.3) for letter in "abc")]
    run = Run(tmp_path, [*fakes, Fake("g2", "g")], at_once=2)
    assert run.errors == {}
    others = max(run.whole[f"{letter}1"]["turn"][1] for letter in "abc")
    assert others <= run.whole["g1"]["turn"][0] <= run.whole["g2"]["turn"][0]
    assert run.pid("g1") == run.pid("g2")


def test_what_finds_no_memory_alone_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path, [Greedy("g1", "g")])
    assert run.errors == {"g1": "OutOfMemoryError: CUDA out of memory."}


def test_few_processes_live_at_a_time(tmp_path: Path) -> None:
    run = Run(tmp_path, [Fake(f"{letter}1", letter) for letter in "abcde"], most=1)
    assert len(run.whole) == 5
    turns = sorted(row["turn"] for row in run.whole.values())
    assert [row["turn"] for row in run.whole.values()] == turns


def test_at_the_end_of_the_time_nothing_is_left_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "LEAST", 0.3)
    fakes = [Fake("a1", "a"), Fake("hang measuring", "a"), Fake("a3", "a")]
    run = Run(tmp_path, fakes, seconds=2.0, limits=(60.0, 60.0))
    assert {row["row"] for row in run.results.rows} == {"a1"}  # no error, and no half of a row
    assert 1.9 < run.took < 4.0


@dataclass(frozen=True)
class Tuned(Fake):
    """Times two kernels of its compiler while it is prepared, as inductor would."""

    def prepare(self, bench: Workbench) -> Measurement:
        turn = bench.once("turn", lambda: TURN[0])
        stamps = []
        for _ in range(2):
            with turn(TUNING), turn(TUNING):
                stamps.append(time.monotonic())
                time.sleep(0.02)
        measure = super().prepare(bench)
        return lambda: ({**facts, "tuned": stamps} for facts in measure())


TURN: list[Any] = []


def test_kernels_are_tuned_in_turns_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.gpu.families.tune_in_turns", TURN.append)
    fakes: list[Fake] = [Tuned("a1", "a", Rival())]
    fakes += [Fake(f"b{number}", "b", seconds=0.3) for number in range(4)]
    run = Run(tmp_path, fakes)
    first, second = run.whole["a1"]["tuned"]
    assert second - first < 0.2  # no row came between
    turns = [row["turn"] for row in run.whole.values()]
    for stamp in (first, second):
        assert not [1 for begin, end in turns if begin <= stamp <= end]
