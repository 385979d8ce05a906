"""The kernels of a call are compiled side by side, before the first is launched.

Triton compiles a kernel when it is first launched, one after another, in the thread that launches.
A call that meets a kernel for the first time is run dry: nothing is launched, and whatever it would
launch is handed to threads that compile. The call then goes on, and waits for each kernel as it
comes to that kernel. Kernels of its backward pass are compiled meanwhile.

Triton's compiler leaves the interpreter's lock to others for most of its time.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import triton
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime import _async_compile

from .listener import computes, listener

__all__ = ["planned", "side_by_side"]

_MOST = 16  # threads: with more of them, they wait for the interpreter's lock
_plan: ContextVar[Callable[[], object] | None] = ContextVar("mesm_ops_plan", default=None)


class _Compilations(triton.AsyncCompileMode):  # type: ignore[misc]
    """Triton's mode, which on leaving does not wait for kernels that nobody launches yet."""

    def __exit__(self, *_: object) -> None:
        _async_compile.active_mode.set(None)
        # Launched kernels are Triton's to keep, and after a failure the next launch tries again.
        self.raw_futures.clear()
        for key, made in [*self.future_kernels.items()]:
            future = made.future  # from Triton 3.9 on None, once the kernel was asked for
            if future is None or made.kernel is not None or _has_failed(future):
                self.future_kernels.pop(key, None)  # another thread may have


def _has_failed(future: Future[Any]) -> bool:
    return future.done() and future.exception() is not None


class _Dry(TorchDispatchMode):
    """Hears of launches that only compile; torch must not compute meanwhile."""

    is_dry = True

    def heard(self, run: Any, args: tuple[Any, ...]) -> None:
        """Never called: a dry launch tells nobody."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if computes(func):
            raise _ComputesError
        return func(*args, **(kwargs or {}))


class _ComputesError(Exception):
    """A call computes with what kernels have not written."""


@contextlib.contextmanager
def planned(function: Callable[[], object]) -> Iterator[None]:
    """Say which function to run dry as soon as a kernel has to be compiled."""
    token = _plan.set(function)
    try:
        yield
    finally:
        _plan.reset(token)


@contextlib.contextmanager
def side_by_side() -> Iterator[None]:
    """Launch a kernel for the first time here: it is compiled beside the others of the plan."""
    mode = _compilations()
    if mode is None or _async_compile.active_mode.get() is not None:  # the user's own mode
        yield
        return
    with mode:
        plan = _plan.get()
        if plan is not None:
            _plan.set(None)
            _run_dry(plan)
        yield


def _run_dry(plan: Callable[[], object]) -> None:
    dry = _Dry()
    token = listener.set(dry)
    try:
        # The call itself is run next, and whatever is wrong with it then comes to light.
        with contextlib.suppress(Exception), dry:
            plan()
    finally:
        listener.reset(token)


@functools.cache
def _compilations() -> Any:
    """Return the mode of this process; None: there is one processor, and nothing to gain."""
    threads = _threads()
    if threads < 2:
        return None
    return _Compilations(ThreadPoolExecutor(threads, "mesm_ops compiles"))


def _threads() -> int:
    """Return how many kernels to compile at once: the processes of a machine share its cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(ValueError):
        cores = (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(_MOST, cores or 1)
