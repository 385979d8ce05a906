"""Runs work in processes of its own, so that a crash or a hang costs that work alone.

Processes are forked from a server that has imported torch and has not touched the GPU; where
forking does not suit CUDA, processes are started afresh.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.gate import error_line

Work = Callable[[], Iterable[dict[str, Any]]]
# The server imports these modules, none of which may touch a GPU.
PRELOADED = ["torch", "torch._dynamo", "mesm.models", "benchmarks.gpu.plan"]
SECONDS_TO_END = 5.0  # for a process to end after its last result


class Stopped(Exception):
    """The work took longer than its time limit."""


class Processes:
    """Starts a process for each piece of work and passes on what it yields.

    Args:
        method: "forkserver", or "spawn", which imports torch anew each time.
    """

    def __init__(self, method: str = "forkserver") -> None:
        self._live: set[int] = set()
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(PRELOADED)

    def stream(self, work: Work, seconds: float, log: Path) -> Iterator[dict[str, Any]]:
        """Run the work in a process of its own and yield its results as they come.

        Args:
            work: can be pickled, as a `functools.partial` of a module's function.
            seconds: the time limit, after which the process is killed.
            log: the file to which the process's output is added.

        Raises:
            Stopped: the process was killed.
            RuntimeError: the work raised, or its process died; says how.
        """
        end = time.monotonic() + seconds
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_run, args=(theirs, work, str(log)))
        process.start()
        self._live.add(process.pid)
        theirs.close()
        try:
            while ours.poll(max(0.0, end - time.monotonic())):
                kind, content = ours.recv()
                if kind == "done":
                    return
                if kind == "error":
                    raise RuntimeError(content)
                yield content
            raise Stopped(f"not done after {seconds:.0f} s")
        except (EOFError, OSError):  # the other end is closed, between messages or within one
            process.join(SECONDS_TO_END)
            raise RuntimeError(_death(process.exitcode)) from None
        finally:
            ours.close()
            process.join(0)
            if process.exitcode is None:
                _kill(process.pid)
            process.join(SECONDS_TO_END)
            self._live.discard(process.pid)

    def kill(self) -> None:
        """Stop all running work, whose streams then raise."""
        for pid in tuple(self._live):
            _kill(pid)


def _run(connection: Connection, work: Work, log: str) -> None:
    """In the child: send the work's results, and end without cleaning up a broken GPU."""
    os.setsid()
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    try:
        for content in work():
            connection.send(("facts", content))
        connection.send(("done", None))
    except BaseException as error:
        traceback.print_exc()
        connection.send(("error", error_line(error)))
    finally:
        connection.close()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _death(code: int | None) -> str:
    if code is None:
        return "its process closed the pipe and did not end"
    if code < 0:
        return f"its process died of {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
