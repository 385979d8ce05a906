from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from benchmarks.calls import Call, block_calls, calls
from benchmarks.inputs import block_case
from benchmarks.kept import KEPT_OFFSETS
from benchmarks.shapes import Shape

SHAPE = Shape(8, 16, 8, 6)


def shapes(made: object) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]


def test_what_is_pretended_has_the_shapes_of_what_is_run() -> None:
    case = block_case(SHAPE, 0.5, torch.float32, 4)
    for call in calls(case, torch.float32):
        assert shapes(call.pretend()) == shapes(call.run()), call.name


def test_a_pretended_block_keeps_what_a_gpu_would() -> None:
    case = block_case(SHAPE, 0.5, torch.float32, 4)
    inference, training, backward = block_calls(case, torch.float32, Call.pretend)
    pretended, ran = shapes(training.pretend()), shapes(training.run())
    # Later results are for the backward pass, and laid out as a device likes them.
    public = KEPT_OFFSETS + 1
    assert pretended[:public] == ran[:public]
    assert shapes(inference.pretend())[0] == ran[0]
    assert shapes(backward.pretend())[0] == (4 * SHAPE.sites, 8)


def test_trimmed_calls_have_no_padding() -> None:
    case = block_case(SHAPE, 0.5, torch.float32, 4)
    rows = {}
    for trim in (False, True):
        (call,) = (c for c in calls(case, torch.float32, trim=trim) if c.name == "subm_conv2d 1")
        rows[trim] = call.args[0].shape[0]
    assert rows[False] == 4 * SHAPE.sites
    assert rows[True] < 0.7 * rows[False]
