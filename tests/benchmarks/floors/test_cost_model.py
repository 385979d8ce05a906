"""The cost model counts what the ops' own FLOP formulas count, and moves at least their tensors."""

from __future__ import annotations

import pytest
import torch

from benchmarks.calls import block_calls, calls
from benchmarks.floors import cost_model
from benchmarks.floors.cost_model import block_costs, dense_costs, op_costs
from benchmarks.floors.machines import MACHINES, Cost
from benchmarks.floors.sizes import block_sizes
from benchmarks.inputs import block_case
from benchmarks.measure import count_flops
from benchmarks.shapes import Shape

SHAPE = Shape(8, 16, 8, 6)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_flops_are_those_of_the_formulas(p: float) -> None:
    case = block_case(SHAPE, p, torch.float32, 4)
    counted = block_sizes(case, SHAPE, torch.float32)
    costs = op_costs(counted)
    names = []
    for call in calls(case, torch.float32):
        assert costs[call.name].flops == count_flops(call.run), call.name
        names.append(call.name)
    assert names == sorted(costs, key=names.index)  # a cost for every call and none besides
    assert len(names) == len(costs)


def test_a_blocks_flops_are_those_of_the_block_as_one_op() -> None:
    case = block_case(SHAPE, 0.5, torch.float32, 4)
    costs = block_costs(block_sizes(case, SHAPE, torch.float32))
    inference, training, backward = (
        count_flops(call.run) for call in block_calls(case, torch.float32)
    )
    assert costs["block inference"].flops == inference == training
    assert costs["block training step"].flops == training + backward


def test_dense_flops_are_those_of_torch() -> None:
    case = block_case(SHAPE, 1.0, torch.float32, 4)
    costs = dense_costs(block_sizes(case, SHAPE, torch.float32))
    with torch.no_grad():
        assert costs["block inference"].flops == count_flops(lambda: case.rival(case.maps))
    leaf = case.maps.clone().requires_grad_()
    step = count_flops(lambda: case.rival(leaf).sum().backward())
    assert costs["block training step"].flops == step


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_with_everything_kept_an_op_moves_its_tensors_once(dtype: torch.dtype) -> None:
    case = block_case(SHAPE, 1.0, dtype, 4)
    costs = op_costs(block_sizes(case, SHAPE, dtype))
    for call in calls(case, dtype):
        out = call.run()
        outs = out if isinstance(out, tuple | list) else (out,)
        tensors = [t for t in (*call.args, *outs) if isinstance(t, torch.Tensor)]
        moved = sum(t.nbytes for t in tensors)
        # Less by what an op need not read (the maps, where only their gradient's rows matter).
        assert 0.6 * moved <= costs[call.name].bytes <= 1.1 * moved, call.name


def test_floors_take_the_slower_of_memory_and_arithmetic() -> None:
    (h200,) = (machine for machine in MACHINES if machine.name == "H200")
    assert Cost(bytes=48, flops=0).floor_us(h200, "bfloat16") == pytest.approx(1e-5)
    assert Cost(bytes=0, flops=990).floor_us(h200, "bfloat16") == pytest.approx(1e-6)
    assert Cost(bytes=48, flops=990).floor_us(h200, "bfloat16") == pytest.approx(1e-5)
    assert Cost(bytes=0, flops=990).floor_us(h200, "float32") == pytest.approx(2e-6)


def test_sizes_scale_with_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_model, "FACE_BLOCKS", (SHAPE,))
    few, many = (cost_model.face_sizes(0.5, 2, frames, drawn=8)[0] for frames in (8, 16))
    assert (many.kept, many.pairs, many.rows) == (2 * few.kept, 2 * few.pairs, 2 * few.rows)
    lines = cost_model.ops_table(16, 0.5, "bfloat16")
    assert sum(line.startswith("| `subm_conv2d") for line in lines) == 6
    lines = cost_model.passes_table(16, 0.5, training=True)
    assert sum("convolve_kernel" in line for line in lines) == 4  # floors, nothing measured
