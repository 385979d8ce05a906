"""Work in a process of its own may crash, hang or be killed: the caller is told how."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.gpu.processes import Processes
from benchmarks.gpu.turns import Turns


def count(numbers: int, turns: Turns) -> None:
    print("counting")
    for number in range(numbers):
        turns.send("facts", (number, os.getpid()))


def ask_for_signals(turns: Turns) -> None:
    turns.send("facts", signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))


def crash(turns: Turns) -> None:
    faulthandler.disable()  # pytest's
    os.kill(os.getpid(), signal.SIGSEGV)


def fail(turns: Turns) -> None:
    raise ValueError("wrong\nat length")


def hang(turns: Turns) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    turns.send("facts", (os.getpid(), child.pid))
    time.sleep(600)


@pytest.fixture(scope="module")
def processes() -> Processes:
    return Processes("fork")  # at once, and starts nothing that would outlive the test


def test_facts_come_from_another_process(processes: Processes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = processes.ask(partial(count, 3), 60, log)
    assert [number for number, _ in found] == [0, 1, 2]
    assert found[0][1] != os.getpid()
    assert log.read_text() == "counting\n"


def test_a_process_leaves_ctrl_c_to_its_parent(processes: Processes, tmp_path: Path) -> None:
    assert processes.ask(ask_for_signals, 60, tmp_path / "log") == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_crash_is_named(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="its process died of SIGSEGV"):
        processes.ask(crash, 60, tmp_path / "log")


def test_an_exception_is_one_line_and_its_trace_lies_in_the_log(
    processes: Processes, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"^ValueError: wrong$"):
        processes.ask(fail, 60, tmp_path / "log")
    assert "in fail" in (tmp_path / "log").read_text()


def test_what_takes_too_long_is_ended(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not done after 0 s"):
        processes.ask(hang, 0.3, tmp_path / "log")


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for counts as ended."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_process_is_ended_with_all_that_it_started(processes: Processes, tmp_path: Path) -> None:
    worker = processes.start(hang, tmp_path / "log")
    _, pids = worker.connection.recv()
    worker.end()
    assert all(gone(pid) for pid in pids)
