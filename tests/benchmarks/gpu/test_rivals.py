"""Rivals are compiled, timing kernels in turns, and one that is not is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.gpu import rivals
from benchmarks.gpu.rivals import Dense, DenseBlock, DenseModel, tune_in_turns
from benchmarks.inputs import block_case
from benchmarks.models import draw_batch, make_model
from benchmarks.shapes import FACE_BLOCKS, Clips, Shape
from tests.benchmarks.gpu.settings import SHAPE


def dense(module: torch.nn.Module) -> Dense:
    return Dense(module, lambda forward: lambda: forward(torch.ones(2)))


def test_what_is_not_compiled_is_left_out_and_named() -> None:
    runs, notes = dense(torch.nn.Linear(2, 2)).sides("not compiled, as was asked")
    assert list(runs) == ["eager"]
    assert notes == {"compiled": "not compiled, as was asked"}


def test_what_was_compiled_is_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def pretend(module: Any, **options: Any) -> Any:
        given.append(options)
        return module

    monkeypatch.setattr(torch, "compile", pretend)
    runs, notes = dense(torch.nn.Linear(2, 2)).sides()
    assert list(runs) == ["eager", "compiled"]
    assert given == [{"mode": "default", "dynamic": False}]
    assert notes["compiled"].startswith("mode default, compiled in")
    assert torch.equal(runs["compiled"](), runs["eager"]())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("no such op"), False),
        (RuntimeError("CUDA error: an illegal memory access"), True),
        (torch.OutOfMemoryError("no room"), True),
    ],
)
def test_a_compiler_s_error_is_a_note_and_the_device_s_is_not(
    monkeypatch: pytest.MonkeyPatch, error: Exception, raised: bool
) -> None:
    def pretend(module: Any, **_: Any) -> Any:
        raise error

    monkeypatch.setattr(torch, "compile", pretend)
    rival = dense(torch.nn.Linear(2, 2))
    if raised:
        with pytest.raises(type(error)):
            rival.sides()
        return
    runs, notes = rival.sides()
    assert list(runs) == ["eager"]
    assert notes == {"compiled": "could not be compiled: ValueError: no such op"}


@pytest.mark.parametrize("train", [False, True])
def test_rivals_run(train: bool) -> None:
    block = DenseBlock(SHAPE, "bfloat16", train)
    model = DenseModel(Clips(2, 1, 1, 4), "float32", train)
    fe2e = make_model("FE2E", (4, 4, 4, 4)).train(train)
    made = (
        block.of(block_case(SHAPE, 0.5, torch.bfloat16, 4)),
        model.of(fe2e, draw_batch(model.clips)),
    )
    for side in made:
        out = side.run(side.module)()
        assert (out is None) == train
    assert block.name != DenseBlock(SHAPE, "bfloat16", not train).name


@pytest.mark.parametrize(
    ("shape", "dtype", "mode"),
    [
        (FACE_BLOCKS[2], "bfloat16", rivals.THOROUGH),
        (FACE_BLOCKS[2], "float32", rivals.DEFAULT),
        (SHAPE, "bfloat16", rivals.DEFAULT),
    ],
)
def test_only_the_most_wanted_blocks_are_tuned(shape: Shape, dtype: str, mode: str) -> None:
    case = block_case(shape, 0.5, torch.float32, 1)
    assert DenseBlock(shape, dtype, False).of(case).mode == mode


def test_kernels_are_timed_in_turns_with_cudnn_s_search(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.runtime import benchmarking

    held: list[str] = []
    searched: list[bool] = []

    class Benchmarker:
        def benchmark_gpu(self, call: Any) -> float:
            searched.append(torch.backends.cudnn.benchmark)
            assert held == ["begins"]
            return 1.0

    @contextlib.contextmanager
    def turn() -> Iterator[None]:
        held.append("begins")
        yield
        held.append("ends")

    monkeypatch.setattr(benchmarking, "benchmarker", Benchmarker())
    tune_in_turns(turn)
    assert benchmarking.benchmarker.benchmark_gpu(lambda: None) == 1.0
    assert held == ["begins", "ends"]
    assert searched == [True]
    assert not torch.backends.cudnn.benchmark
