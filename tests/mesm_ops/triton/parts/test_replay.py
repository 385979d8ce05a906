"""Launches that are recorded do for other tensors what the function that launched them does."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from mesm_ops.triton.parts import launch as launching
from mesm_ops.triton.parts import replay as module
from mesm_ops.triton.parts.launch import call, launch
from mesm_ops.triton.parts.replay import Recorded

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit
def _add(x, y, out, number, factor, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    there = at < number
    value = tl.load(x + at, mask=there, other=0.0)
    if y is not None:
        value += tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, value * factor, mask=there)


class Given(NamedTuple):
    x: Tensor
    y: Tensor | None
    factor: float


class Made(NamedTuple):
    once: Tensor
    twice: Tensor
    nothing: Tensor


def add(x: Tensor, y: Tensor | None, out: Tensor, factor: float) -> None:
    launch(_add, (1,), x, y, out, x.shape[0], factor, BLOCK=16)


def passes(a: Given, negative: bool = False) -> Made:
    """Launches over views, fresh memory between launches, a call, and a result of no size."""
    factor = -a.factor if negative else a.factor
    number = a.x.shape[0]
    between = a.x.new_empty(3, number)
    once, twice = torch.empty_like(a.x), a.x.new_empty(number)
    add(a.x, a.y, between[1], factor)
    call(_double, between[1], between)
    add(between[1], None, once, 1.0)
    add(between[2], between[0], twice, 1.0)
    return Made(once, twice, a.x.new_empty(0))


def _double(row: Tensor, to: Tensor) -> None:
    torch.mul(row, 2, out=to[2])
    to[0].zero_()


def given(number: int = 7, seed: int = 0, y: bool = True, factor: float = 3.0) -> Given:
    torch.manual_seed(seed)
    x = torch.randn(number, device=DEVICE)
    return Given(x, torch.randn(number, device=DEVICE) if y else None, factor)


def assert_right(made: Made, a: Given, negative: bool = False) -> None:
    wanted = (a.x if a.y is None else a.x + a.y) * (-a.factor if negative else a.factor)
    torch.testing.assert_close(made.once, wanted)
    torch.testing.assert_close(made.twice, 2 * wanted)
    assert made.nothing.shape == (0,)
    assert isinstance(made, Made)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one with each call whose launches were recorded before."""
    run, seen = module._Launches.run, list[Any]()

    def noted(self: Any, *args: Any) -> Any:
        seen.append(self)
        return run(self, *args)

    monkeypatch.setattr(module._Launches, "run", noted)
    return seen


def test_the_third_call_of_a_kind_launches_what_was_recorded(runs: list[Any]) -> None:
    recorded = Recorded(passes)
    for seed in range(5):
        a = given(seed=seed)
        assert_right(recorded(a), a)
        assert len(runs) == max(0, seed - 1)
    recorded.cache_clear()
    recorded(a)
    assert len(runs) == 3


@pytest.mark.parametrize(
    "other",
    [
        given(number=8),
        given(y=False),
        given(factor=2.0),
        given()._replace(y=torch.ones(7, dtype=torch.bfloat16, device=DEVICE)),
        given()._replace(x=torch.randn(9, device=DEVICE)[1:8]),  # an address of its own kind
    ],
)
def test_other_arguments_are_of_another_kind(other: Given, runs: list[Any]) -> None:
    recorded = Recorded(passes)
    for turn in range(4):
        for a in (given(seed=turn), other):
            assert_right(recorded(a), a)
    assert len(runs) == 4
    assert len(set(map(id, runs))) == 2


def test_flags_are_part_of_the_kind(runs: list[Any]) -> None:
    recorded = Recorded(passes)
    for seed in range(4):
        for negative in (True, False):
            a = given(seed=seed)
            assert_right(recorded(a, negative), a, negative)
    assert len(runs) == 4


def test_how_float32_is_multiplied_is_part_of_the_kind(runs: list[Any]) -> None:
    recorded = Recorded(passes)
    for _ in range(3):
        recorded(given())
    assert len(runs) == 1
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee" if before == "tf32" else "tf32"
    try:
        recorded(given())
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert len(runs) == 1


def _computes(a: Given) -> Made:
    return passes(a._replace(x=a.x + 1))


def _reads(a: Given) -> Made:
    return passes(a._replace(factor=float(a.x[0])))


def _returns_an_argument(a: Given) -> Made:
    return passes(a)._replace(nothing=a.x)


def _returns_a_part(a: Given) -> Made:
    made = passes(a)
    return made._replace(twice=made.twice[:3])


def _returns_one_twice(a: Given) -> Made:
    made = passes(a)
    return made._replace(nothing=made.once)


@pytest.mark.parametrize(
    "function", [_computes, _reads, _returns_an_argument, _returns_a_part, _returns_one_twice]
)
def test_what_cannot_be_recorded_runs_as_written(
    function: Callable[[Given], Made], runs: list[Any]
) -> None:
    recorded = Recorded(function)
    for seed in range(4):
        a = given(seed=seed)
        for one, other in zip(recorded(a), function(a), strict=True):
            assert torch.equal(one, other)
    assert not runs


@pytest.mark.parametrize("part", [slice(0, 7), slice(2, 9)])
def test_arguments_that_overlap_run_as_written(part: slice, runs: list[Any]) -> None:
    recorded = Recorded(passes)
    for seed in range(4):
        memory = given(number=9, seed=seed).x
        a = Given(memory[:7], memory[part], 2.0)
        assert_right(recorded(a), a)
    assert not runs


def test_an_error_leaves_nothing_behind() -> None:
    def fails(a: Given) -> Made:
        if a.x.shape[0] == 7:
            call(_refuse, a.x)
        return passes(a)

    recorded = Recorded(fails)
    for _ in range(4):
        with pytest.raises(ValueError, match="not these"):
            recorded(given())
        assert launching.listener.get() is None
        assert_right(recorded(given(number=5)), given(number=5))


def _refuse(x: Tensor) -> None:
    raise ValueError("not these")


def test_kinds_are_bounded(monkeypatch: pytest.MonkeyPatch, runs: list[Any]) -> None:
    monkeypatch.setattr(module, "_MOST", 4)
    recorded = Recorded(passes)
    for _ in range(3):
        for number in range(1, 8):
            a = given(number=number)
            assert_right(recorded(a), a)
            assert len(recorded._known) <= 4


def test_profilers_are_told(monkeypatch: pytest.MonkeyPatch, runs: list[Any]) -> None:
    recorded = Recorded(passes)
    for _ in range(2):
        recorded(given())
    monkeypatch.setattr(launching.knobs.runtime, "launch_enter_hook", print)
    assert_right(recorded(given()), given())
    assert not runs


class Kernel:
    """Stands for a compiled kernel under @triton.jit, and records the launches."""

    params = tuple(SimpleNamespace(name=name, is_constexpr=False) for name in "xyz")
    __name__ = "kernel"

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *_, **__: SimpleNamespace(run=self.run, function=5, packed_metadata=6)

    def run(self, *args: Any) -> None:
        self.seen.append(args)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel that is not interpreted; each question for the stream is answered anew."""
    streams = iter(range(100, 200))
    active = SimpleNamespace(get_current_stream=lambda device: next(streams))
    monkeypatch.setattr(launching, "_INTERPRETED", False)
    monkeypatch.setattr(launching, "_launches", {})
    monkeypatch.setattr(launching, "driver", SimpleNamespace(active=active))
    return Kernel()


class Block:
    """Stands for a TMA descriptor."""

    def __init__(self, base: Tensor) -> None:
        self.base, self.block_shape, self.shape = base, [4, 4], list(base.shape)


def test_kernels_are_given_addresses_of_their_own_call(kernel: Kernel, runs: list[Any]) -> None:
    def function(a: Given) -> Made:
        once, between, twice = (a.x.new_empty(4, 4) for _ in range(3))
        launch(kernel, (2, 3), a.x, once, 1)
        launch(kernel, (9,), Block(between), twice[1:], 0.5)
        launch(kernel, (9,), Block(twice), Block(twice), None)
        return Made(once, twice, a.x.new_empty(0))

    recorded = Recorded(function)
    every = [given(seed=seed) for seed in range(4)]
    made = [recorded(a) for a in every]
    assert len(runs) == 2
    for a, one, seen in zip(
        every[2:], made[2:], (kernel.seen[-6:-3], kernel.seen[-3:]), strict=True
    ):
        first, second, third = seen
        stream = first[3]
        assert first[:3] == (2, 3, 1)
        assert first[4:] == (5, 6, None, None, None, a.x.data_ptr(), one.once.data_ptr(), 1)
        assert second[:4] == (9, 1, 1, stream)
        assert second[-2:] == (one.twice.data_ptr() + 16, 0.5)
        assert type(second[-3]) is Block
        assert second[-3].shape == [4, 4]
        memory = {t.data_ptr() for t in (a.x, *one)}
        assert second[-3].base.data_ptr() not in memory
        assert second[-3].base.data_ptr() % 16 == 0
        assert third[-3].base.data_ptr() == third[-2].base.data_ptr() == one.twice.data_ptr()
    streams = [seen[3] for seen in kernel.seen[-6:]]
    assert streams[0] == streams[2] != streams[3] == streams[5]


def test_without_a_compiled_kernel_nothing_is_recorded(
    kernel: Kernel, runs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where benchmarks.gpu_check notes launches down instead of compiling."""
    monkeypatch.setattr(Kernel, "__getitem__", lambda *_: lambda *_, **__: None)

    def function(a: Given) -> Made:
        launch(kernel, (2,), a.x, None, 1)
        return Made(*(torch.empty_like(a.x) for _ in range(3)))

    recorded = Recorded(function)
    for _ in range(4):
        recorded(given())
    assert not runs
