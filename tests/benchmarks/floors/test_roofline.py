from __future__ import annotations

import pytest
import torch

from benchmarks.floors import roofline
from benchmarks.shapes import Shape


def test_every_op_gets_a_floor_it_does_not_beat_by_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "SECONDS", 0.0)
    rows = roofline.measure(Shape(8, 16, 6, 4), torch.float32)
    names = {row["op"].split(" ")[0].removesuffix("_backward") for row in rows}
    assert names == {
        *("cross_modal_score", "top_p_select", "subm_conv2d", "sparse_batch_norm"),
        "sparse_max_pool2d",
    }
    assert len(rows) == 16
    for row in rows:
        assert row["mb"] > 0
        assert row["floor_ms"] > 0
        assert (row["gflop"] > 0) == row["op"].startswith(("subm_conv2d", "cross_modal_score"))


def test_bytes_count_every_tensor_once() -> None:
    x = torch.zeros(10)
    assert roofline.bytes_of((x, 3, None), (x, torch.zeros(2))) == 40 + 40 + 8
