"""Measures families of rows in processes side by side, of which one at a time has the device.

Processes build and compile by themselves; whoever then wants to time something waits for a turn,
and the process whose row is wanted most has the next one. The device is idle only while nobody
waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from benchmarks.gpu import report
from benchmarks.gpu.families import Family, measure_family
from benchmarks.gpu.processes import Processes, Worker
from benchmarks.gpu.results import Results
from benchmarks.gpu.row import Facts, Row, Setting
from benchmarks.gpu.turns import TUNING

LEAST = 4.0  # seconds that must be left for another turn to begin
GRACE = 0.2  # seconds in which a compiler that timed a kernel may time the next one
COMPILING = 20.0  # seconds that a process compiles at least before it is started anew without
LATE = "not compiled in time"
ENDING = 10.0  # seconds that a process takes to end at most
TICK = 0.25  # seconds between looks at the clock
OUT_OF_MEMORY = "OutOfMemoryError"  # the kind of error
PREPARES, WAITS, HAS_TURN = "prepares", "waits", "has the turn"


@dataclass(eq=False)
class Live:
    """A process of a family.

    Attributes:
        state: what the process does.
        since: the time at which the process entered this state.
        wants: the row, or TUNING, for which the process waits or has the turn.
        prepared: seconds of preparation of the present row.
        ready: whether a row was ready to be timed.
        measured: rows that were measured.
        facts: the present row's facts.
        turn: seconds of the present row's turn.
    """

    family: Family
    worker: Worker
    begun: float
    since: float
    state: str = PREPARES
    wants: str = ""
    prepared: float = 0.0
    ready: bool = False
    measured: int = 0
    turn: float = 0.0
    facts: list[Facts] = field(default_factory=list)

    @property
    def row(self) -> Row:
        """The row that is prepared or timed."""
        return self.family.rows[0]


class Scheduler:
    """Measures rows until all are measured or no time is left.

    Args:
        processes: starts the processes.
        results: is given all facts, row by row.
        setting: how rows are measured.
        families: the rows to measure, in the order of their most wanted rows.
        order: names of all rows, the most wanted first.
        left: the seconds that are left.
        at_once: how many processes prepare at a time.
        most: how many processes may live.
        testing: whether something else uses the device, so that nothing is timed.
        patience: by which the rows' time limits are multiplied.
    """

    def __init__(
        self,
        processes: Processes,
        results: Results,
        setting: Setting,
        families: Sequence[Family],
        order: Sequence[str],
        left: Callable[[], float],
        at_once: int,
        most: int,
        testing: Callable[[], bool] = lambda: False,
        patience: float = 1.0,
    ) -> None:
        self._processes, self._results, self._setting = processes, results, setting
        self._waiting = list(families)
        self._place = {name: place for place, name in enumerate(order)}
        self._left, self._testing, self._patience = left, testing, patience
        self._at_once, self._most = at_once, most
        self._live: list[Live] = []
        self._turn: Live | None = None
        self._tuner: tuple[Live, float] | None = None  # has the next turn, until a time
        self._tested = False
        self._count = sum(len(family.rows) for family in families)
        self._done = 0

    def run(self) -> None:
        """Measure; on return no process is left."""
        try:
            while self._waiting or self._live:
                left = self._left()
                if left <= 0 or (left < LEAST and self._turn is None):
                    return
                self._tested = self._tested or self._end_of_tests()
                self._start_anew(left)
                self._start(left)
                self._give_turn(left)
                self._listen()
                self._stop_overruns()
        finally:
            for live in self._live:
                live.worker.end()

    def _end_of_tests(self) -> bool:
        """Whether tests are over; if so, the time of preparation counts from now on."""
        if self._testing():
            return False
        now = time.monotonic()
        for live in self._live:
            live.prepared = 0.0
            live.since = now if live.state == PREPARES else live.since
        return True

    def _start_anew(self, left: float) -> None:
        """Stop processes that will not have compiled in time; their rows compare with eager."""
        now = time.monotonic()
        for live in tuple(self._live):
            late = live.family.compiles and left < live.family.restart * self._patience
            if late and not live.ready and now - live.begun > COMPILING:
                print(f"   {live.family.name}: {LATE}, measured without", flush=True)
                self._remove(live)
                self._put_back(live.family, uncompiled=LATE)

    def _start(self, left: float) -> None:
        """Start processes of the families whose rows are wanted most."""
        at_once = self._at_once if self._tested else max(1, self._at_once // 2)
        while self._waiting and len(self._live) < self._most:
            if sum(self._is_busy(live) for live in self._live) >= at_once:
                return
            alone = self._waiting[0].alone or any(live.family.alone for live in self._live)
            if alone and self._live:
                return
            family = self._waiting.pop(0)
            if family.compiles and left < family.restart * self._patience:
                family.uncompiled = LATE
            setting = replace(self._setting, uncompiled=family.uncompiled)
            work = partial(measure_family, tuple(family.rows), setting)
            worker = self._processes.start(work, setting.folder / "rows.log")
            now = time.monotonic()
            self._live.append(Live(family, worker, begun=now, since=now))

    @staticmethod
    def _is_busy(live: Live) -> bool:
        """Whether a process builds or compiles, also while a kernel of its compiler is timed."""
        return live.state == PREPARES or (live.state == HAS_TURN and live.wants == TUNING)

    def _give_turn(self, left: float) -> None:
        """Let the process whose row is wanted most have the device, if the device is free."""
        if self._turn is not None or not self._tested or left < LEAST:
            return
        waiting = [live for live in self._live if live.state == WAITS]
        if self._tuner is not None:
            tuner, until = self._tuner
            if tuner in waiting:
                waiting = [tuner]
            elif tuner in self._live and time.monotonic() < until:
                return
        if not waiting:
            return
        live = min(waiting, key=lambda live: self._place[live.row.name])
        live.state, live.since = HAS_TURN, time.monotonic()
        self._turn, self._tuner = live, None
        live.worker.go()

    def _listen(self) -> None:
        """Wait for messages, and hear every message that came."""
        if not self._live:
            return
        waiting_for = {live.worker.connection: live for live in self._live}
        seconds = GRACE / 4 if self._tuner is not None else TICK
        for connection in wait(list(waiting_for), seconds):
            live = waiting_for[connection]  # type: ignore[index]
            try:
                kind, content = live.worker.connection.recv()
            except (EOFError, OSError):  # also within a message
                self._failed(live, live.worker.death(), died=True)
                continue
            self._hear(live, kind, content)

    def _hear(self, live: Live, kind: str, content: Any) -> None:
        now = time.monotonic()
        if kind == "wants":
            live.prepared += now - live.since
            live.state, live.since, live.wants = WAITS, now, content
            if content != TUNING and not live.ready:
                live.ready = True
                print(f"   {live.family.name}: ready after {live.prepared:.0f} s", flush=True)
        elif kind == "over":
            self._turn = None
            if live.wants == TUNING:
                self._tuner = (live, now + GRACE)
            else:
                live.turn = now - live.since
            live.state, live.since = PREPARES, now
        elif kind == "facts":
            live.facts.append(content)
        elif kind == "row":
            self._row_over(live, content)
        elif kind == "error":
            self._failed(live, content, died=False)
        else:
            self._remove(live)

    def _stop_overruns(self) -> None:
        now = time.monotonic()
        for live in tuple(self._live):
            took, row = now - live.since, live.row if live.family.rows else None
            if row is None:  # the process is about to end
                if took > ENDING:
                    self._remove(live)
            elif live.state == HAS_TURN and took > row.limit * self._patience:
                self._failed(live, f"not done after {took:.0f} s", died=True)
            elif live.state == PREPARES and self._tested:
                took += live.prepared
                if took > row.preparation * self._patience:
                    self._failed(live, f"not prepared after {took:.0f} s", died=True)

    def _row_over(self, live: Live, problem: str | None) -> None:
        """Keep a row's facts, and why the row has no further facts."""
        row = live.family.rows.pop(0)
        live.measured += problem is None
        self._keep(row, live.facts, problem, live.turn)
        live.prepared, live.turn, live.facts = 0.0, 0.0, []
        live.since = time.monotonic()

    def _failed(self, live: Live, why: str, died: bool) -> None:
        """A process failed; its other rows may have another one.

        Args:
            live: the process, which is ended.
            why: what happened.
            died: the process died or was stopped; otherwise the row raised an error.
        """
        family, in_turn = live.family, live.state == HAS_TURN and live.wants != TUNING
        self._remove(live)
        if not family.rows:
            return
        if died and not in_turn and family.compiles and not live.ready:
            print(f"   {family.name}: {why}, measured without its compilation", flush=True)
            self._put_back(family, uncompiled=f"not compiled: {why}")
            return
        if why.startswith(OUT_OF_MEMORY) and self._live and not family.alone:
            print(f"   {family.name}: {why}; again, alone, at the end", flush=True)
            family.alone = True
            self._put_back(family, family.uncompiled)
            return
        row = family.rows.pop(0)
        self._keep(row, live.facts, why, time.monotonic() - live.since if in_turn else live.turn)
        if not family.rows:
            return
        if (live.measured or not died) and not family.retried:
            family.retried = True
            self._put_back(family, family.uncompiled)
            return
        for other in family.rows:
            self._keep(other, [], f"not tried, since {row.name} ended so: {why}", 0.0)

    def _remove(self, live: Live) -> None:
        live.worker.end()
        self._live.remove(live)
        if self._turn is live:
            self._turn = None

    def _put_back(self, family: Family, uncompiled: str | None) -> None:
        family.uncompiled = uncompiled
        self._waiting.append(family)
        self._waiting.sort(key=lambda family: (family.alone, self._place[family.rows[0].name]))

    def _keep(self, row: Row, facts: list[Facts], problem: str | None, turn: float) -> None:
        """Add a row to the results, and print it at once: output is often read from its end."""
        self._done += 1
        kept = [self._results.add(row.name, each, dict(row.goals)) for each in facts]
        if problem is not None:
            failure = {"group": "failed", "what": row.name, "error": problem}
            kept.append(self._results.add(row.name, failure, {}))
        head = f"[{self._done}/{self._count}, {self._left():.0f} s left, turn {turn:.1f} s]"
        for each in kept:
            print(f"{head} {report.line(each)}", flush=True)
