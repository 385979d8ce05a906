"""Runs inputs in forked processes, so that one that crashes or hangs is counted and not caught."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.faults.outcome import Outcome, one_line
from tests.faults.process import end_with_parent

PATIENCE = 600.0  # seconds for one input, which may be several commands

# A kind of input, and a seed.
Input = tuple[str, int]


@dataclass
class _Worker:
    pid: int
    pipe: int
    left: deque[Input]
    since: float
    unread: bytes = b""


def run_all(
    inputs: Sequence[Sequence[Input]],
    one: Callable[[str, int], Outcome],
    jobs: int,
    patience: Callable[[str], float] = lambda _kind: PATIENCE,
) -> Iterator[tuple[Input, Outcome]]:
    """Give every input's outcome as soon as it is there.

    Args:
        inputs: in batches; a process does one batch.
        one: makes an input and tells its outcome.
        jobs: processes at a time.
        patience: seconds after which an input of a kind counts as hanging.
    """
    waiting = deque(batch for batch in inputs if batch)
    workers: list[_Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                workers.append(_start(waiting.popleft(), one))
            ready = select.select([worker.pipe for worker in workers], [], [], 1.0)[0]
            for worker in list(workers):
                if worker.pipe in ready:
                    data = os.read(worker.pipe, 1 << 16)
                    yield from _outcomes(worker, data)
                    if data:
                        continue
                    problem = _end(worker)
                elif worker.left and time.monotonic() - worker.since > patience(worker.left[0][0]):
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(worker.pid, signal.SIGKILL)
                    _end(worker)
                    problem = "hangs"
                else:
                    continue
                workers.remove(worker)
                if worker.left:
                    yield worker.left.popleft(), Outcome("crashed", problem)
                    waiting.appendleft(list(worker.left))
                    if not worker.left:
                        waiting.popleft()
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)


def _start(batch: Sequence[Input], one: Callable[[str, int], Outcome]) -> _Worker:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            end_with_parent()
            os.close(reading)
            for kind, seed in batch:
                try:
                    outcome = one(kind, seed)
                except Exception as error:
                    place = traceback.extract_tb(error.__traceback__)[-1]
                    said = f"{type(error).__name__}: {error} ({place.name}:{place.lineno})"
                    outcome = Outcome("traceback", f"the campaign itself: {one_line(said)}")
                line = json.dumps([outcome.verdict, outcome.what]) + "\n"
                os.write(writing, line.encode())
        finally:
            os._exit(0)
    os.close(writing)
    return _Worker(pid, reading, deque(batch), time.monotonic())


def _outcomes(worker: _Worker, data: bytes) -> Iterator[tuple[Input, Outcome]]:
    *lines, worker.unread = (worker.unread + data).split(b"\n")
    for line in lines:
        verdict, what = json.loads(line)
        worker.since = time.monotonic()
        yield worker.left.popleft(), Outcome(verdict, what)


def _end(worker: _Worker) -> str:
    os.close(worker.pipe)
    _, status = os.waitpid(worker.pid, 0)
    if os.WIFSIGNALED(status):
        return f"the process ended by signal {os.WTERMSIG(status)}"
    return f"the process ended with {os.WEXITSTATUS(status)}"
