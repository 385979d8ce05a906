"""Rows of the block are measured only after the result was found right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gate import RedGate
from benchmarks.gpu import block
from benchmarks.gpu.block import BlockRow
from benchmarks.gpu.row import Workbench
from tests.benchmarks.gpu.settings import SHAPE, facts_of, tiny


@pytest.mark.parametrize("train", [False, True])
def test_a_row_has_times_floors_and_memory(tmp_path: Path, train: bool) -> None:
    (facts,) = facts_of(BlockRow(SHAPE, train, 0.5), tiny(tmp_path))
    assert facts["ms"] > 0
    assert facts["rival"] == "dense eager"
    assert facts["notes"] == {"compiled": "not compiled"}
    assert facts["ratio"] == pytest.approx(facts["rival_ms"] / facts["ms"])
    assert 0.3 < facts["density"] < 0.7
    assert 0 < facts["floor_us"] < facts["dense_floor_us"]
    assert ("peak_mib" in facts) == train


def test_called_from_python_the_host_and_its_launches_are_counted(tmp_path: Path) -> None:
    (facts,) = facts_of(BlockRow(SHAPE, True, 0.5, graph=False), tiny(tmp_path))
    assert facts["what"] == "eager block training step"
    assert facts["host_us"] > 0
    assert facts["launches"] > facts["rival_launches"] > 10  # on a CPU, torch's ops


def test_a_red_gate_stops_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def red(*_: object) -> float:
        raise RedGate("value is off by 1")

    measure = BlockRow(SHAPE, False, 0.5).prepare(Workbench(tiny(tmp_path)))
    monkeypatch.setattr(block, "check_block", red)
    with pytest.raises(RedGate):
        next(measure())
    with pytest.raises(RedGate):
        BlockRow(SHAPE, False, 0.5).prepare(Workbench(tiny(tmp_path)))


def test_rows_of_one_rival_share_it_and_keep_their_p(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiled: list[object] = []

    def pretend(module: Any, **_: Any) -> Any:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", pretend)
    bench = Workbench(tiny(tmp_path, uncompiled=None))
    found = [next(BlockRow(SHAPE, False, p).prepare(bench)()) for p in (0.5, 0.1, 1.0)]
    assert len(compiled) == 1
    assert all(set(facts["rivals_ms"]) == {"eager", "compiled"} for facts in found)
    assert all(facts["notes"] == found[0]["notes"] for facts in found)
    half, low, whole = (facts["density"] for facts in found)
    assert low < 0.3 < half < 0.7 < whole == 1.0
    alone = facts_of(BlockRow(SHAPE, False, 0.1), tiny(tmp_path))[0]
    assert alone["density"] == low
