"""Processes of their own, so that a crash or a hang costs what is done in that process alone.

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
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.gate import error_line
from benchmarks.gpu.turns import Turns
from mesm.runs.interrupts import blocked

Work = Callable[[Turns], None]
# The server imports these modules, none of which may touch a GPU.
PRELOADED = ["torch", "torch._dynamo", "mesm.models", "benchmarks.gpu.plan"]
SECONDS_TO_END = 5.0  # for a process to end after its last message


class Worker:
    """A running process, with the pipe on which the process speaks.

    Attributes:
        connection: gives pairs of a kind and a content, as `Turns` sends them, then ("done", None)
            or ("error", a line); at its end, which may come before, EOFError or OSError.
    """

    def __init__(self, context: Any, work: Work, log: Path) -> None:
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, work, str(log)))
        # Ctrl-C is the parent's to tell: neither the server, while it imports, nor this process,
        # before it is in a session of its own, may print a trace.
        with blocked():
            self._process.start()
        theirs.close()

    def go(self) -> None:
        """Let the process have the turn that it asked for."""
        with contextlib.suppress(OSError):  # the process died; the connection tells
            self.connection.send("go")

    def death(self) -> str:
        """How the process died, once its end of the pipe is closed."""
        self._process.join(SECONDS_TO_END)
        code = self._process.exitcode
        if code is None:
            return "its process closed the pipe and did not end"
        if code < 0:
            return f"its process died of {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}"

    def end(self) -> None:
        """End the process, at once and with all that it started."""
        self.connection.close()
        pid = self._process.pid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # what it started may outlive the process itself
        if self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.join(SECONDS_TO_END)


class Processes:
    """Starts processes.

    Args:
        method: "forkserver", or "spawn", which imports torch anew each time.
    """

    def __init__(self, method: str = "forkserver") -> None:
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(PRELOADED)

    def start(self, work: Work, log: Path) -> Worker:
        """Start a process.

        Args:
            work: can be pickled, as a `functools.partial` of a module's function.
            log: the file to which the process's output is added.
        """
        return Worker(self._context, work, log)

    def ask(self, work: Work, seconds: float, log: Path) -> list[Any]:
        """Run work that needs no turn in a process of its own; returns the facts that it sends.

        Raises:
            RuntimeError: the work raised, its process died, or it took longer; says how.
        """
        worker, end = self.start(work, log), time.monotonic() + seconds
        found: list[Any] = []
        try:
            while worker.connection.poll(max(0.0, end - time.monotonic())):
                kind, content = worker.connection.recv()
                if kind == "done":
                    return found
                if kind == "error":
                    raise RuntimeError(content)
                found.append(content)
            raise RuntimeError(f"not done after {seconds:.0f} s")
        except (EOFError, OSError):
            raise RuntimeError(worker.death()) from None
        finally:
            worker.end()


def _run(connection: Connection, work: Work, log: str) -> None:
    """In the child: do the work, and end without cleaning up a broken GPU."""
    os.setsid()
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    turns = Turns(connection)
    try:
        work(turns)
        turns.send("done")
    except BaseException as error:
        traceback.print_exc()
        with contextlib.suppress(OSError):  # the parent is gone
            turns.send("error", error_line(error))
    finally:
        connection.close()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
