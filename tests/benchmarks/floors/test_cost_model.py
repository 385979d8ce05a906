"""The cost model counts what the ops' own FLOP formulas count, and moves at least their tensors."""

from __future__ import annotations

import pytest
import torch

from benchmarks import cost_model
from benchmarks.cost_model import MACHINES, Cost, block_costs, dense_costs, op_costs
from benchmarks.gpu_calls import block_calls, block_case_on, calls, sizes
from benchmarks.measure import count_flops
from benchmarks.shapes import Shape

SHAPE = Shape(8, 16, 8, 6)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_flops_are_those_of_the_formulas(p: float) -> None:
    case = block_case_on("cpu", SHAPE, p, torch.float32, 4)
    counted = sizes(case, SHAPE, torch.float32)
    costs = op_costs(counted)
    names = []
    for call in calls(case, torch.float32):
        assert costs[call.name].flops == count_flops(call.run), call.name
        names.append(call.name)
    assert names == sorted(costs, key=names.index)  # a cost for every call and none besides
    assert len(names) == len(costs)


def test_a_blocks_flops_are_those_of_the_block_as_one_op() -> None:
    case = block_case_on("cpu", SHAPE, 0.5, torch.float32, 4)
    costs = block_costs(sizes(case, SHAPE, torch.float32))
    inference, training, backward = (
        count_flops(call.run) for call in block_calls(case, torch.float32)
    )
    assert costs["block inference"].flops == inference == training
    assert costs["block training step"].flops == training + backward


def test_the_rulebook_moves_what_its_kernels_read_and_write() -> None:
    from mesm_ops.triton.neighbours import CHUNK, COLUMNS
    from mesm_ops.triton.rulebook import flat_size

    assert (cost_model.CHUNK, cost_model.PATTERN_COLUMNS) == (CHUNK, COLUMNS)
    case = block_case_on("cpu", SHAPE, 1.0, torch.float32, 4)
    s = sizes(case, SHAPE, torch.float32)
    rows, lines = s.rows, 4
    assert s.kept == rows
    # With everything kept: sites, the map of rows twice, the table out and in, ranks out and in,
    # counts four times, and the rulebook without the room for pairs that there are not.
    wanted = 3 * rows + 2 * (9 * rows) + 2 * rows + 4 * lines * COLUMNS
    wanted += flat_size(rows) - 16 - (9 * rows - s.pairs)
    assert cost_model.rulebook_cost(s).bytes == 4 * wanted


def test_dense_flops_are_those_of_torch() -> None:
    case = block_case_on("cpu", SHAPE, 1.0, torch.float32, 4)
    costs = dense_costs(sizes(case, SHAPE, torch.float32))
    with torch.no_grad():
        assert costs["block inference"].flops == count_flops(lambda: case.rival(case.maps))
    leaf = case.maps.clone().requires_grad_()
    step = count_flops(lambda: case.rival(leaf).sum().backward())
    assert costs["block training step"].flops == step


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_with_everything_kept_an_op_moves_its_tensors_once(dtype: torch.dtype) -> None:
    case = block_case_on("cpu", SHAPE, 1.0, dtype, 4)
    costs = op_costs(sizes(case, SHAPE, dtype))
    for call in calls(case, dtype):
        out = call.run()
        outs = out if isinstance(out, tuple | list) else (out,)
        tensors = [t for t in (*call.args, *outs) if isinstance(t, torch.Tensor)]
        moved = sum(t.nbytes for t in tensors)
        # Less by what an op need not read (the maps, where only their gradient's rows matter).
        assert 0.6 * moved <= costs[call.name].bytes <= 1.1 * moved, call.name


def test_floors_take_the_slower_of_memory_and_arithmetic() -> None:
    h200 = MACHINES[0]
    assert Cost(bytes=48, flops=0).floor_us(h200, "bfloat16") == pytest.approx(1e-5)
    assert Cost(bytes=0, flops=990).floor_us(h200, "bfloat16") == pytest.approx(1e-6)
    assert Cost(bytes=48, flops=990).floor_us(h200, "bfloat16") == pytest.approx(1e-5)
    assert Cost(bytes=0, flops=990).floor_us(h200, "float32") == pytest.approx(2e-6)


def test_sizes_scale_with_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_model, "FACE_BLOCKS", (SHAPE,))
    few, many = (cost_model.face_sizes(0.5, 2, frames, drawn=8)[0] for frames in (8, 16))
    assert (many.kept, many.pairs, many.rows) == (2 * few.kept, 2 * few.pairs, 2 * few.rows)
    lines = cost_model.table(16, 0.5, "bfloat16")
    assert sum(line.startswith("| `subm_conv2d") for line in lines) == 6
