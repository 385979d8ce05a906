"""The passes are the launches that the block makes on an H100, and move what these are given."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache

import pytest
import torch

from benchmarks.floors.cost_model import block_costs, op_costs
from benchmarks.floors.machines import MACHINES
from benchmarks.floors.passes import (
    ESTIMATES,
    HEAD,
    INFERENCE_ESTIMATES,
    STEPS,
    Measured,
    kernel_name,
    measured,
    passes,
    table,
    took_together,
)
from benchmarks.floors.sizes import Sizes, block_sizes
from benchmarks.inputs import block_case
from benchmarks.shapes import FACE_BLOCKS, Shape
from benchmarks.tables.gpu import groups
from tests.benchmarks.gpu_check.uninterpreted import run

pytest.importorskip("triton")

FRAMES = 16
# The score's gradients take one pass over the rows in the first, two in the second.
SHAPES = (Shape(64, 128, 8, 8), Shape(256, 512, 8, 8))
CUDA = {"rank", "sum_up_counts", "place_selected"}  # launched by an op of the extension
APART = {"_move_kernel"}  # launched by the module, after the op

# Notes each launch of Triton's, by kernel, with the bytes that its arguments have; runs none.
PROGRAM = """
import json, sys
import torch
from benchmarks.calls import Call, block_calls
from benchmarks.gpu_check import triton as check
from benchmarks.inputs import block_case
from benchmarks.shapes import Shape
from mesm_ops.triton.parts import choice, sizes
from unittest import mock

UNCOUNTED = {
    # Given for their dtype alone.
    "_prepare_kernel": "features", "sums_kernel": "features", "_finish_kernel": "features",
    # A program's sums: next to nothing, and more room than is written.
    "convolve_kernel": "partial", "_norm_pool_sums": "partial",
}
noted = []

def note(kernel, grid, *args, **constants):
    seen, given = set(), 0
    for name, value in zip(kernel.arg_names, args):
        value = getattr(value, "base", value)
        if not isinstance(value, torch.Tensor) or name == UNCOUNTED.get(kernel.__name__):
            continue
        # Some are given twice for an argument that is not read.
        if value.data_ptr() not in seen or (name, kernel.__name__) == ("out", "_norm_gradient"):
            given += value.nbytes
        seen.add(value.data_ptr())
    noted.append((kernel.__name__, given))

found, frames = [], int(sys.argv[1])
hopper = mock.patch.object(choice, "_choose", check._chooser("sm_90", -1))
h100 = mock.patch.object(sizes, "_INTERPRETED", check.MULTIPROCESSORS["sm_90"])
for shape in sys.argv[2:]:
    case = block_case(Shape(*map(int, shape.split(","))), 1.0, torch.bfloat16, frames)
    calls = list(block_calls(case, torch.bfloat16, Call.pretend))
    found.append({})
    with check.playing("sm_90", None), hopper, h100:
        for module in check.modules():
            if hasattr(module, "launch") and not module.__name__.endswith(".launch"):
                module.launch = note
        for call in calls:
            noted.clear()
            check.launcher(call.op)(call.arguments)
            found[-1][call.name.removeprefix("sparse_cross_modal_block")] = list(noted)
print(json.dumps(found))
"""


# Kernels that were written after the measurement.
NOT_MEASURED = {"_finish_kernel"}


@cache
def launched() -> dict[Shape, dict[bool, list[tuple[str, int]]]]:
    """By shape the launches of a training step and of inference, kernel and bytes."""
    shapes = [f"{s.in_channels},{s.out_channels},{s.height},{s.width}" for s in SHAPES]
    done = run("-c", PROGRAM, str(FRAMES), *shapes)
    assert done.returncode == 0, done.stderr
    found = {}
    for shape, steps in zip(SHAPES, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert len(steps) == 3
        training = steps[" training"] + steps["_backward"]
        found[shape] = {True: training, False: steps[" inference"]}
    return found


def sizes(shape: Shape, p: float = 1.0, frames: int = FRAMES) -> Sizes:
    case = block_case(shape, p, torch.float32, frames)
    counted = block_sizes(case, shape, torch.float32)
    return Sizes(**{**vars(counted), "itemsize": 2})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=Shape.id)
def test_passes_are_the_launches_in_their_order(shape: Shape, training: bool) -> None:
    found = [each.kernel for each in passes(sizes(shape), training)]
    assert set(found) >= CUDA
    launches = [name for name, _ in launched()[shape][training]]
    assert [name for name in found if name not in CUDA | APART] == launches


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=Shape.id)
def test_with_everything_kept_a_pass_moves_its_tensors_once(shape: Shape, training: bool) -> None:
    moved: dict[str, int] = defaultdict(int)
    given: dict[str, int] = defaultdict(int)
    for each in passes(sizes(shape), training):
        moved[each.kernel] += each.cost.bytes
    for name, size in launched()[shape][training]:
        given[name] += size
    for name, size in given.items():
        if name in ("_combine", "_total"):  # next to nothing
            continue
        assert 0.95 * size <= moved[name] <= 1.05 * size, (name, size, moved[name])


@pytest.mark.parametrize("shape", SHAPES, ids=Shape.id)
def test_flops_are_those_of_the_ops(shape: Shape) -> None:
    counted = sizes(shape, 0.4)
    whole, ops = block_costs(counted), op_costs(counted)
    flops = {
        training: sum(each.cost.flops for each in passes(counted, training)) for training in STEPS
    }
    assert flops[False] == whole["block inference"].flops
    # The query's projection is kept, and not made again.
    again = 2 * counted.samples * counted.query_dim * shape.in_channels
    assert flops[True] == whole["block training step"].flops - again
    found = {each.name: each.cost.flops for each in passes(counted, True)}
    for number in (1, 2):
        back = f"subm_conv2d_backward {number}"
        assert found[f"convolution {number}"] == ops[f"subm_conv2d {number}"].flops
        assert found[f"input gradient {number}"] == ops[f"{back}, input"].flops
        assert found[f"weight gradient {number}"] == ops[f"{back}, weight"].flops


@pytest.mark.parametrize("training", [True, False])
def test_estimates_are_of_passes(training: bool) -> None:
    names = {each.estimate for each in passes(sizes(SHAPES[0]), training)} - {None}
    assert names <= INFERENCE_ESTIMATES.keys()
    if training:
        assert names == ESTIMATES.keys()
        assert [sum(guess[i] for guess in ESTIMATES.values()) for i in range(3)] == [575, 419, 356]


def test_kernels_are_read_from_what_a_profiler_calls_them() -> None:
    assert kernel_name("_norm_pool") == "_norm_pool"
    assert kernel_name("void mesm_ops::(anonymous namespace)::rank<true, true>(mesm_") == "rank"
    assert kernel_name("mesm_ops::(anonymous namespace)::sum_up_counts(mesm") == "sum_up_counts"
    with pytest.raises(ValueError, match="no kernel's name: '<'"):
        kernel_name("<")


@pytest.mark.parametrize("training", [True, False])
def test_every_pass_that_took_long_was_measured(training: bool) -> None:
    """A kernel that was renamed, or launched more often, would drop out of the table unseen."""
    took = measured(training)
    (machine,) = (machine for machine in MACHINES if machine.name == "H100")
    for number, shape in enumerate(FACE_BLOCKS):
        counted = sizes(shape, 0.5, 8).at(512)
        step = passes(counted, training)
        for each in step:
            if each.kernel in NOT_MEASURED:
                assert took[str(shape)].us(step, each.kernel) is None, each
            elif each.cost.floor_us(machine, "bfloat16") > 0.5:
                assert took[str(shape)].us(step, each.kernel), each
        rows = table(counted, training, machine, took[str(shape)], number)
        assert all(len(row) == len(HEAD) for row in rows)
        *_, ours, others = (float(row[6]) for row in rows if not row[1] and row[6][:1] not in "*")
        assert ours + others == pytest.approx(took[str(shape)].total_us, abs=0.1)
        # PyTorch's launches, and in training `_add_kernel`, which `_finish_kernel` replaced.
        assert 0 < others < 0.25 * ours


def test_a_shape_that_was_not_measured_has_floors_alone() -> None:
    rows = table(sizes(SHAPES[0]), True, MACHINES[0], None, None)
    assert all(row[4] and not any(row[5:]) for row in rows)


def test_a_pass_without_a_time_has_none_and_its_floor_is_beside_no_time() -> None:
    """Its group's line is empty; the ratio of all passes is that of those with a time."""
    counted = sizes(SHAPES[0]).at(4096)
    step = passes(counted, True)
    (finish,) = (each for each in step if each.kernel == "_finish_kernel")
    rest = [each for each in step if each is not finish]
    kernels = {
        name: (sum(each.kernel == name for each in rest), 1000.0)
        for name in {each.kernel for each in rest}
    }
    took = Measured(len(rest) + 2, 1000.0 * len(kernels) + 7.0, kernels)
    assert took_together([finish], step, took) is None
    assert took_together(step, step, took) == 1000.0 * len(kernels)
    (machine,) = (machine for machine in MACHINES if machine.name == "H100")
    rows = {row[0].strip("*"): row for row in table(counted, True, machine, took, None)}
    assert rows["sums of parts, 1 launch"][5:] == ("", "", "")
    assert finish.cost.floor_us(machine, "bfloat16") > 0.5
    floor = sum(each.cost.floor_us(machine, "bfloat16") for each in rest)
    all_of_these = rows[f"all of these, {len(step)} launches"]
    assert all_of_these[7].strip("*") == f"{1000.0 * len(kernels) / floor:.1f}"
    others = rows["PyTorch's, 2 launches, and what is not listed"]
    assert others[6] == "7.0"


def test_a_document_has_a_dash_where_nothing_was_measured() -> None:
    cells = groups().splitlines()
    (sums,) = (line for line in cells if "sums of parts" in line)
    assert sums.split(" | ")[1:] == ["– / –", "– / –", "– / – |"]
    assert not any("None" in line for line in cells)
