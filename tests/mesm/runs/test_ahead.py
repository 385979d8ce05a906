"""A thread that works ahead: order, bounds, errors, and that none outlives its values."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesm.runs.ahead import ahead

ROOT = Path(__file__).parents[3]


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "mesm-ahead"]


class Source:
    """Counts up, and says what became of it."""

    def __init__(self, until: int) -> None:
        self.made, self.closed, self.owner = 0, False, ""
        self.until = until

    def values(self) -> Iterator[int]:
        try:
            while self.made < self.until:
                self.made += 1
                yield self.made
            raise ValueError("the disk is gone")
        finally:
            self.closed, self.owner = True, threading.current_thread().name


def settled(source: Source) -> int:
    before = -1
    while before != source.made:
        before = source.made
        time.sleep(0.05)
    return before


def test_values_come_in_order_and_then_the_error() -> None:
    source = Source(200)
    values = ahead(source.values(), 3)
    found = [next(values) for _ in range(200)]
    with pytest.raises(ValueError, match="the disk is gone"):
        next(values)
    assert found == list(range(1, 201))
    assert source.closed
    assert source.owner == "mesm-ahead"
    assert not threads()


def test_an_empty_iterator_ends() -> None:
    assert list(ahead(iter(()), 1)) == []
    assert not threads()


def test_it_is_no_further_ahead_than_told() -> None:
    source = Source(1000)
    values = ahead(source.values(), 4)
    assert next(values) == 1
    assert settled(source) <= 1 + 4 + 1  # taken, waiting, in hand
    assert threads()
    values.close()
    assert source.closed
    assert not threads()


def test_an_error_of_the_taker_ends_the_thread() -> None:
    source = Source(1000)

    def take() -> None:
        for value in ahead(source.values(), 2):
            if value == 3:
                raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        take()
    assert source.closed
    assert not threads()


def test_ctrl_c_while_waiting_for_a_value() -> None:
    """The taker waits for a value that never comes; the process must end at once."""
    code = (
        "import time\n"
        "from mesm.runs import ahead\n"
        "ahead.PATIENCE = 0.1\n"
        "def hanging():\n"
        "    yield 1\n"
        "    time.sleep(600)\n"
        "try:\n"
        "    for value in ahead.ahead(hanging(), 2): print(value, flush=True)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', flush=True)\n"
        "    raise SystemExit(130)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        os.kill(process.pid, signal.SIGINT)
        assert "stopped" in process.communicate(timeout=30)[0]
        assert process.returncode == 130


def test_heavy_values_wait_alone_and_light_ones_together() -> None:
    source = Source(1000)
    values = ahead(source.values(), 4, lambda value: 8.0 if value < 4 else 2.0)
    assert next(values) == 1
    assert settled(source) == 1 + 1 + 1
    assert [next(values) for _ in range(3)] == [2, 3, 4]
    assert settled(source) == 4 + 2 + 1
    values.close()
