"""Worker processes that never see Ctrl-C and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import InvalidStateError, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import (
    BaseContext,
    ForkContext,
    ForkProcess,
    ForkServerContext,
    ForkServerProcess,
    SpawnContext,
    SpawnProcess,
)
from typing import Any, TypeVar

from mesm.runs import interrupts

T = TypeVar("T")
R = TypeVar("R")
DIED = (
    "a worker process died, for instance for want of memory; run again to go on, with fewer "
    "--workers if it was memory"
)
_SECONDS = 0.2


class _Fork(ForkProcess):
    def start(self) -> None:
        with interrupts.blocked():
            super().start()


class _Spawn(SpawnProcess):
    def start(self) -> None:
        resource_tracker.ensure_running()  # would unblock the signal as it starts
        with interrupts.blocked():
            super().start()

    def __reduce__(self) -> tuple[Any, ...]:
        # Made in the new process before what its work needs is imported, which takes seconds.
        return _arrive, (os.getpid(),), self.__dict__


def _arrive(parent: int) -> _Spawn:
    threading.Thread(target=_end_as_orphan, args=(parent,), daemon=True).start()
    return _Spawn.__new__(_Spawn)


def _end_as_orphan(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os._exit(1)


class _ForkServer(ForkServerProcess):
    def start(self) -> None:
        resource_tracker.ensure_running()
        with interrupts.blocked():
            super().start()


class _ForkContext(ForkContext):
    Process = _Fork


class _SpawnContext(SpawnContext):
    Process = _Spawn


class _ForkServerContext(ForkServerContext):
    Process = _ForkServer


_CONTEXTS: dict[str, type[BaseContext]] = {
    "fork": _ForkContext,
    "spawn": _SpawnContext,
    "forkserver": _ForkServerContext,
}


def shielded(method: str | None = None) -> BaseContext:
    """A context of `multiprocessing` whose processes never see Ctrl-C, not even as they start.

    The terminal sends Ctrl-C to every process of a command; the one that started the others is to
    end them, and to tell.

    Args:
        method: "fork", "spawn" or "forkserver"; None: this Python's default.
    """
    return _CONTEXTS[method or multiprocessing.get_start_method()]()


@contextmanager
def worker_pool(
    workers: int, initializer: Callable[..., None], *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """New processes for a block of work; they end at once where the block is left by an exception.

    Args:
        workers: how many processes.
        initializer: what each calls first; should call `end_with_parent`.
        arguments: of the initializer.
    """
    others = multiprocessing.active_children()
    # Forking after torch has started its threads may hang.
    pool = ProcessPoolExecutor(workers, shielded("spawn"), initializer, arguments)
    try:
        yield pool
    except BaseException:
        with interrupts.blocked(), _cancelled_work_may_break():
            for process in multiprocessing.active_children():
                if process not in others:
                    process.kill()
            pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def side_by_side(work: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[tuple[T, R]]:
    """Do units of work in new processes; gives each as it is done, with its result.

    Args:
        work: importable; gives what can be pickled.
        items: in the order to begin them.
        workers: how many processes.

    Raises:
        ChildProcessError: a process died.
    """
    with worker_pool(workers, end_with_parent) as pool:
        running = {pool.submit(work, item): item for item in items}
        for future in as_completed(running):
            try:
                result = future.result()
            except BrokenProcessPool as error:
                raise ChildProcessError(DIED) from error
            yield running[future], result


@contextmanager
def _cancelled_work_may_break() -> Iterator[None]:
    """Keep a pool's thread quiet that tells cancelled work of its process's end, and so fails."""
    report = threading.excepthook

    def others(failure: threading.ExceptHookArgs) -> None:
        if failure.exc_type is not InvalidStateError:
            report(failure)

    threading.excepthook = others
    try:
        yield
    finally:
        threading.excepthook = report


def end_with_parent() -> None:
    """Let this worker end when its parent is gone: a killed command must leave nobody writing.

    To be called once in a worker that `multiprocessing` started; returns at once.
    """
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
