"""Work in a process of its own may crash, hang or be killed: the rest goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.processes import Processes, Stopped

Facts = dict[str, Any]


def count(numbers: int) -> Iterator[Facts]:
    print("counting")
    for number in range(numbers):
        yield {"number": number, "process": os.getpid()}


def crash() -> Iterator[Facts]:
    yield {"number": 1}
    os.kill(os.getpid(), signal.SIGSEGV)


def fail() -> Iterator[Facts]:
    yield {"number": 1}
    raise ValueError("wrong\nat length")


def hang() -> Iterator[Facts]:
    yield {"process": os.getpid()}
    time.sleep(600)


@pytest.fixture(scope="module")
def processes() -> Processes:
    return Processes("spawn")  # starts nothing that would outlive the test


def test_facts_come_from_another_process(processes: Processes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = [*processes.stream(partial(count, 3), 60, log)]
    assert [facts["number"] for facts in found] == [0, 1, 2]
    assert found[0]["process"] != os.getpid()
    assert log.read_text() == "counting\n"


def test_a_crash_is_named_after_what_was_found(processes: Processes, tmp_path: Path) -> None:
    stream = processes.stream(crash, 60, tmp_path / "log")
    assert next(stream) == {"number": 1}
    with pytest.raises(RuntimeError, match="its process died of SIGSEGV"):
        next(stream)


def test_an_exception_is_one_line_and_its_trace_lies_in_the_log(
    processes: Processes, tmp_path: Path
) -> None:
    stream = processes.stream(fail, 60, tmp_path / "log")
    next(stream)
    with pytest.raises(RuntimeError, match=r"^ValueError: wrong$"):
        next(stream)
    assert "in fail" in (tmp_path / "log").read_text()


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_what_hangs_is_killed(processes: Processes, tmp_path: Path) -> None:
    stream = processes.stream(hang, 20, tmp_path / "log")
    pid = next(stream)["process"]
    with pytest.raises(Stopped, match="not done after 20 s"):
        next(stream)
    assert gone(pid)


def test_everything_can_be_stopped_from_outside(processes: Processes, tmp_path: Path) -> None:
    stream = processes.stream(hang, 600, tmp_path / "log")
    pid = next(stream)["process"]
    threading.Timer(0.2, processes.kill).start()
    with pytest.raises(RuntimeError, match="died of SIGKILL"):
        next(stream)
    assert gone(pid)
