"""Kernels of a call, and of the backward pass after it, are compiled side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton

from mesm_ops.triton.parts import ahead as module
from mesm_ops.triton.parts.ahead import planned, side_by_side
from mesm_ops.triton.parts.launch import call
from mesm_ops.triton.parts.listener import listener
from tests.benchmarks.gpu_check.uninterpreted import run

# A block's training step on a GPU that is played, whose compiler waits for company.
STEPS = """
import threading
from collections import Counter
from unittest import mock

import triton.compiler
from triton.runtime.jit import JITFunction

from benchmarks.gpu_check import host_path
from mesm_ops.triton.parts import ahead

TOGETHER = 8
launches, compiled = Counter(), []
company = threading.Barrier(TOGETHER)
as_it_is = JITFunction._do_compile

def compile(src, target, options, _env_vars=None):
    compiled.append(src.fn.__name__)
    if len(compiled) <= TOGETHER:
        company.wait(60)
    return host_path._Compiled(src.fn.__name__, launches)

with (
    host_path.played(launches),
    mock.patch.object(JITFunction, "_do_compile", as_it_is),
    mock.patch.object(triton.compiler, "compile", compile),
    mock.patch.object(ahead, "_threads", lambda: TOGETHER),
):
    step = host_path.training_step()  # which runs a forward pass
    ahead._compilations().executor.shutdown()  # what is in hand is still compiled
    assert "weight_gradient_kernel" in compiled
    assert "weight_gradient_kernel" not in launches
    ready = Counter(compiled)
    step()  # to compile more would be refused
    assert Counter(compiled) == ready
    assert "weight_gradient_kernel" in launches
"""


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with ThreadPoolExecutor(2) as pool:
        made = module._Compilations(pool)
        monkeypatch.setattr(module, "_compilations", lambda: made)
        yield made


def test_a_plan_is_run_dry_once(mode: Any) -> None:
    heard: list[Any] = []
    called: list[int] = []

    def plan() -> None:
        call(called.append, 1)
        torch.empty(6).view(2, 3)
        hears = listener.get()
        heard.append(hears is not None and hears.is_dry)

    with planned(plan):
        for _ in range(2):
            with side_by_side():
                assert listener.get() is None
                assert module._async_compile.active_mode.get() is mode
            assert module._async_compile.active_mode.get() is None
    assert (heard, called) == ([True], [])
    with side_by_side():  # another call, without a plan
        assert heard == [True]


def test_a_plan_never_computes(mode: Any) -> None:
    x, reached = torch.zeros(3), []

    def plan() -> None:
        x.add_(1)
        reached.append(1)

    with planned(plan), side_by_side():
        pass
    assert not reached
    assert torch.equal(x, torch.zeros(3))


def test_an_error_of_a_plan_is_left_to_the_call(mode: Any) -> None:
    def plan() -> None:
        raise ValueError("too large")

    with planned(plan), side_by_side():
        assert listener.get() is None


def test_a_kernel_that_could_not_be_compiled_is_tried_again(mode: Any) -> None:
    failed, waiting = Future[Any](), Future[Any]()
    failed.set_exception(RuntimeError("the disk is full"))
    for key, future in (("failed", failed), ("waiting", waiting)):
        mode.future_kernels[key] = triton.FutureKernel(print, future)
    mode.future_kernels["asked for"] = SimpleNamespace(future=None, kernel=None)  # Triton 3.9
    with side_by_side():
        pass
    assert list(mode.future_kernels) == ["waiting"]


def test_nobody_waits_for_kernels_of_later_calls(mode: Any) -> None:
    may_end = Event()
    with side_by_side():
        mode.submit("key", may_end.wait, print)
    assert not mode.future_kernels["key"].future.done()
    may_end.set()


def test_the_mode_of_a_user_stays(mode: Any) -> None:
    with ThreadPoolExecutor(1) as pool, triton.AsyncCompileMode(pool) as own:
        with planned(lambda: pytest.fail("run dry")), side_by_side():
            assert module._async_compile.active_mode.get() is own
        assert module._async_compile.active_mode.get() is own


@pytest.mark.parametrize(
    ("cores", "processes", "threads"),
    [(64, None, 16), (8, None, 8), (8, "4", 2), (2, "4", 1), (8, "many", 8)],
)
def test_processes_of_a_machine_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: str | None, threads: int
) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert module._threads() == threads


def test_one_core_compiles_as_triton_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_compilations", lambda: None)
    with planned(lambda: pytest.fail("run dry")), side_by_side():
        assert module._async_compile.active_mode.get() is None


def test_eight_kernels_of_a_training_step_are_compiled_at_once() -> None:
    done = run("-c", STEPS)
    assert done.returncode == 0, done.stderr
    assert not done.stdout
