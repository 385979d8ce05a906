from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.calls import calls
from benchmarks.gpu.ops import Ceilings, OpsRow, dense_call
from benchmarks.inputs import block_case
from tests.benchmarks.gpu.settings import SHAPE, facts_of, tiny


def test_every_op_has_a_time_and_a_floor(tmp_path: Path) -> None:
    found = facts_of(OpsRow(SHAPE), tiny(tmp_path))
    assert len(found) == 16
    for facts in found:
        assert facts["ms"] > 0
        assert facts["floor_us"] > 0
        assert "ratio" not in facts  # no gate looked at these
    dense = {facts["what"] for facts in found if "dense_ms" in facts}
    assert "subm_conv2d 1" in dense
    assert "top_p_select" not in dense


def test_dense_counterparts_do_the_dense_work() -> None:
    case = block_case(SHAPE, 1.0, torch.float32, 4)
    shapes = {}
    for call in calls(case, torch.float32):
        if run := dense_call(call, 4):
            out = run()
            outs = out if isinstance(out, tuple) else (out,)
            shapes[call.name] = [tuple(t.shape) for t in outs if t is not None]
    assert shapes["subm_conv2d 1"] == [(4, 16, 8, 6)]
    assert shapes["subm_conv2d_backward 1, input"][0] == (4, 8, 8, 6)
    assert (16, 8, 3, 3) in shapes["subm_conv2d_backward 1, weight"]
    assert shapes["sparse_max_pool2d"] == [(4, 16, 4, 3)]
    assert "sparse_batch_norm_backward 2" in shapes
    assert "top_p_select" not in shapes


def test_ceilings(tmp_path: Path) -> None:
    (facts,) = facts_of(Ceilings(), tiny(tmp_path))
    assert facts["copy_gb_per_s"] > 0
    assert facts["bfloat16_tflop_per_s"] > 0
