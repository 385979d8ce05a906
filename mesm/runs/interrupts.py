"""Ctrl-C at any moment of a command: one line, status 130, and never a word of Python's."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

STATUS = 130  # as shells have it for a command that Ctrl-C ended
# Commands that take up their own work where it stopped.
RESUMING = ("prepare", "features", "train", "experiment", "demo")
_AGAIN = 0.02  # seconds


def how_to_go_on(command: str | None) -> str:
    """Say how to go on after a command, named by its subcommand, was stopped."""
    if command in RESUMING:
        return "the same command goes on where it was"
    return "no file is left half written; run the same command again"


def listen() -> None:
    """Make SIGINT end this process as a command ends; to be called first of all, in `main`.

    The signal becomes KeyboardInterrupt, but for two places. A module that is just being imported
    may make anything of an exception, so the process ends there and then. A callback or `__del__`
    swallows it, so the signal comes once more. Nothing changes where SIGINT is ignored, as in
    `nohup`, and outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
        sys.unraisablehook = _swallowed


def ignore() -> None:
    """Leave SIGINT without effect after `listen`: how the command ends is settled."""
    if signal.getsignal(signal.SIGINT) is _interrupted:
        with suppress(KeyboardInterrupt):  # a signal that has come already is handled first
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def blocked() -> Iterator[None]:
    """Keep SIGINT from this thread and from processes that it starts, which never see SIGINT.

    A signal that comes meanwhile acts on this process afterwards, not on the processes.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end() -> None:
    """End this process at once, with one line that says how to go on."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    with suppress(OSError):
        os.write(2, f"mesm: stopped; {how_to_go_on(command)}\n".encode())
    os._exit(STATUS)


def _interrupted(number: int, frame: FrameType | None) -> None:
    if _imports(frame):
        end()
    raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _swallowed(unraisable: Any) -> None:
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(_AGAIN, _again).start()
    else:
        sys.__unraisablehook__(unraisable)


def _again() -> None:
    # A signal of that thread's own, so that what the thread waits for is interrupted.
    ident = threading.main_thread().ident
    if ident is not None:
        signal.pthread_kill(ident, signal.SIGINT)
