"""The GPU benchmark on CPU tensors of tiny shapes: gates, timings, floors, JSON and picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_rivals, gpu_timing
from benchmarks.cost_model import MACHINES
from benchmarks.gate import RedGate
from benchmarks.gpu_calls import block_case_on, calls
from benchmarks.gpu_environment import environment
from benchmarks.gpu_plot import draw, floor_table
from benchmarks.gpu_rivals import dense_call, dense_rivals
from benchmarks.gpu_timing import Deadline, in_turns, replayable
from benchmarks.shapes import Shape

SHAPE = Shape(8, 16, 8, 6)


def plan(**changed: Any) -> gpu.Plan:
    settings: dict[str, Any] = {
        "device": "cpu",
        "frames": 4,
        "shapes": (SHAPE,),
        "p_values": (0.5,),
        "clips": 1,
        "channels": (4, 4, 4, 4),
        "row_seconds": 0.0,
        "compiled": False,
        "deadline": Deadline(600),
        "machine": MACHINES[0],
    }
    return gpu.Plan(**(settings | changed))


def test_smoke_writes_every_kind_of_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "plan_of", lambda _: plan())
    monkeypatch.setattr(gpu_timing, "MIN_ROUNDS", 3)
    path = tmp_path / "here.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--results", str(path)])
    assert gpu.main() == 0
    found = json.loads(path.read_text())
    assert found["finished"]
    assert {"name", "driver", "torch", "triton", "git_commit", "tf32"} <= set(found["machine"])
    assert found["machine"]["ceilings"]["copy_gb_per_s"] > 0
    whats = {row["what"] for row in found["rows"]}
    assert {"block inference", "block training step", "MESM inference"} <= whats
    assert {"subm_conv2d 1", "top_p_select_backward", "MESM training step"} <= whats
    # Two dtypes; blocks also at p = 1, and in one of the dtypes both ways.
    assert len(found["rows"]) == 2 * (2 * 2 + 2 + 16) + 2
    ways = [row for row in found["rows"] if "both ways" in row["group"]]
    assert sorted(row["wins"] for row in ways) == [False, True]
    for row in found["rows"]:
        assert row["ms"] > 0
        assert "error" not in row
        if "bytes" in row:
            assert row["floor_us"] > 0
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "of floor" in printed
    assert "quartiles" in printed


def test_a_red_gate_leaves_a_row_without_a_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    def red(*_: object) -> float:
        raise RedGate("value is off by 1")

    monkeypatch.setattr(gpu, "check_block", red)
    row = gpu._or_error(gpu.Blocks(plan()), SHAPE, "float32", False, 0.5)
    assert row["error"] == "red gate: value is off by 1"
    assert "ratio" not in row
    # A shape without a ratio leaves its p out of the sums, so of the picture.
    draw([row], "a name")


def test_the_better_rival_is_the_one_compared_with() -> None:
    x = torch.randn(64, 64)
    slow = gpu_rivals.Rivals({"eager": lambda: [x @ x for _ in range(200)], "other": lambda: x @ x})
    row = gpu.timed(plan(), lambda: x @ x, slow)
    assert row["rival"] == "dense other"
    assert row["rivals_ms"]["eager"] > row["rivals_ms"]["other"]


def test_a_compilation_that_fails_leaves_the_eager_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", broken)
    module = torch.nn.Linear(2, 2)

    def make(run: Any) -> Any:
        return lambda: run(torch.ones(2))

    found = dense_rivals(make, module, "cpu", Deadline(1000), compiled=True)
    assert list(found.runs) == ["eager"]
    assert found.notes["max-autotune"] == "not compiled: RuntimeError: no compiler"
    late = dense_rivals(make, module, "cpu", Deadline(0), compiled=True)
    assert late.notes["max-autotune"] == "not compiled: no time left"


def test_dense_counterparts_do_the_dense_work() -> None:
    case = block_case_on("cpu", SHAPE, 1.0, torch.float32, 4)
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


def test_rounds_time_every_side_in_turn() -> None:
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    times = in_turns(runs, "cpu", 0.0)
    assert len(times["a"]) == len(times["b"]) == 10
    assert order == ["a", "b"] * (len(order) // 2)
    assert replayable(lambda: None, "cpu")[1] == "call"


def test_without_figures_for_a_device_the_table_says_so() -> None:
    row = {"what": "x", "shape": "s", "dtype": "d", "p": 0.5, "bytes": 8, "ms": 1.0}
    assert floor_table([row])[1].split() == ["x", "s", "d", "?", "1000.0", "?"]
    assert floor_table([row | {"floor_us": 250.0}])[1].split()[-1] == "25%"


def test_environment_names_what_was_measured_with() -> None:
    facts = environment("cpu")
    assert facts["device"] == "cpu"
    assert facts["torch"] == torch.__version__
