"""Rivals are compiled into a cache, timing kernels in turns, and a missing one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import rivals
from benchmarks.gpu.rivals import Dense, DenseBlock, DenseModel, hold, tune_in_turns
from benchmarks.shapes import FACE_BLOCKS, Clips, Shape
from tests.benchmarks.gpu.settings import SHAPE


def dense(module: torch.nn.Module) -> Dense:
    return Dense(module, lambda forward: lambda: forward(torch.ones(2)))


def test_what_was_not_compiled_is_left_out_and_named() -> None:
    runs, notes = dense(torch.nn.Linear(2, 2)).sides("a rival", frozenset())
    assert list(runs) == ["eager"]
    assert notes == {"compiled": "not compiled beforehand"}


def test_what_was_compiled_is_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def pretend(module: Any, **options: Any) -> Any:
        given.append(options)
        return module

    monkeypatch.setattr(torch, "compile", pretend)
    runs, notes = dense(torch.nn.Linear(2, 2)).sides("a rival", frozenset({"a rival"}))
    assert list(runs) == ["eager", "compiled"]
    assert given == [{"mode": "default", "dynamic": False}]
    assert notes["compiled"].startswith("mode default, loaded in")
    assert torch.equal(runs["compiled"](), runs["eager"]())  # type: ignore[arg-type]


@pytest.mark.parametrize("train", [False, True])
def test_rivals_are_built_from_their_names_parts_alone(train: bool) -> None:
    block = DenseBlock(SHAPE, "bfloat16", train)
    model = DenseModel(Clips(2, 1, 1, 4), "float32", train)
    for rival in (block, model):
        made = rival.build(4, (4, 4, 4, 4), "cpu")
        out = made.run(made.module)()
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
    assert DenseBlock(shape, dtype, False).build(1, None, "cpu").mode == mode


def test_a_process_may_hold_its_lock_twice(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with hold(lock), hold(lock):
        assert lock in rivals._held
    assert lock not in rivals._held


def test_kernels_are_timed_while_the_lock_is_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torch._inductor.runtime import benchmarking

    lock = tmp_path / "lock"
    held: list[bool] = []

    class Benchmarker:
        def benchmark_gpu(self, call: Any) -> float:
            held.append(lock in rivals._held)
            return 1.0

    monkeypatch.setattr(benchmarking, "benchmarker", Benchmarker())
    tune_in_turns(lock)
    assert benchmarking.benchmarker.benchmark_gpu(lambda: None) == 1.0
    assert held == [True]
