from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gate import RedGate
from benchmarks.gpu import models
from benchmarks.gpu.models import ModelRow
from benchmarks.gpu.row import Workbench
from tests.benchmarks.gpu.settings import facts_of, tiny


def test_a_row_compares_with_fe2e(tmp_path: Path) -> None:
    setting = tiny(tmp_path)
    (facts,) = facts_of(ModelRow(setting.batches[0], True, 0.5, "float32"), setting)
    assert facts["rival"] == "FE2E eager"
    assert facts["flops"] < facts["dense_flops"]
    assert facts["peak_of_dense"] == facts["peak_mib"] / facts["dense_peak_mib"]
    assert set(facts["block_densities"]) == {"face", "audio"}


def test_a_red_gate_stops_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def red(*_: object) -> float:
        raise RedGate("face maps is off by 1")

    setting = tiny(tmp_path)
    bench = Workbench(setting)
    bench.once("check", dict)  # the gate was run for its compilation
    monkeypatch.setattr(models, "check_model", red)
    measure = ModelRow(setting.batches[0], False, 0.5).prepare(bench)
    with pytest.raises(RedGate):
        next(measure())
