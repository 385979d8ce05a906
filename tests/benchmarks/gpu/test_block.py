"""Rows of the block are measured only after the result was found right."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gate import RedGate
from benchmarks.gpu import block
from benchmarks.gpu.block import BlockRow
from tests.benchmarks.gpu.settings import SHAPE, tiny


@pytest.mark.parametrize("train", [False, True])
def test_a_row_has_times_floors_and_memory(tmp_path: Path, train: bool) -> None:
    (facts,) = BlockRow(SHAPE, train, 0.5)(tiny(tmp_path))
    assert facts["ms"] > 0
    assert facts["rival"] == "dense eager"
    assert facts["notes"] == {"compiled": "not compiled beforehand"}
    assert facts["ratio"] == pytest.approx(facts["rival_ms"] / facts["ms"])
    assert 0.3 < facts["density"] < 0.7
    assert 0 < facts["floor_us"] < facts["dense_floor_us"]
    assert ("peak_mib" in facts) == train


def test_called_from_python_the_host_and_its_launches_are_counted(tmp_path: Path) -> None:
    (facts,) = BlockRow(SHAPE, True, 0.5, graph=False)(tiny(tmp_path))
    assert facts["what"] == "eager block training step"
    assert facts["host_us"] > 0
    assert facts["launches"] > facts["rival_launches"] > 10  # on a CPU, torch's ops


def test_a_red_gate_stops_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def red(*_: object) -> float:
        raise RedGate("value is off by 1")

    monkeypatch.setattr(block, "check_block", red)
    with pytest.raises(RedGate):
        next(BlockRow(SHAPE, False, 0.5)(tiny(tmp_path)))
