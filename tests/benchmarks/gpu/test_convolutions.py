"""Each candidate is timed in the passes that are right, and in no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gpu import convolutions
from benchmarks.gpu.candidates import Op, Sites
from benchmarks.gpu.convolutions import PASSES, ConvolutionRow
from benchmarks.gpu.ops import OpsRow
from tests.benchmarks.gpu.settings import SHAPE, facts_of, tiny


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_all_passes_of_the_op(tmp_path: Path, dtype: str) -> None:
    found = facts_of(ConvolutionRow("op", SHAPE, dtype=dtype), tiny(tmp_path))
    assert [facts["what"].split(", ")[1] for facts in found] == list(PASSES)
    for facts in found:
        assert facts["flops"] < facts["dense_flops"]
        assert facts["tflop_per_s"] == pytest.approx(facts["flops"] / facts["ms"] / 1e9)
        assert facts["ratio"] > 0


def test_both_convolutions_of_a_block_are_rows() -> None:
    rows = convolutions.rows((SHAPE,))
    assert [row.shape.in_channels for row in rows] == [8, 16]
    assert {row.family for row in rows} == {OpsRow(SHAPE).family}


class Wrong(Op):
    """Its input gradient misses a tap."""

    def input_gradient(self, grad: Tensor, features: Tensor, at: Sites, weight: Tensor) -> Tensor:
        cut = torch.ones(3, 3)
        cut[0, 1] = 0
        return super().input_gradient(grad, features, at, weight * cut.to(weight))


def test_a_wrong_pass_has_no_ratio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    every: dict[str, Any] = {"wrong": Wrong()}
    monkeypatch.setattr(convolutions, "candidates", lambda: every)
    forward, of_input, of_weight = facts_of(ConvolutionRow("wrong", SHAPE), tiny(tmp_path))
    assert forward["ratio"] > 0
    assert of_input["error"].startswith("red gate: the input's gradient is off by")
    assert "ratio" not in of_input
    assert of_weight["ratio"] > 0
