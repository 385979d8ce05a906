from __future__ import annotations

from typing import Any

import torch

from benchmarks.inputs import block_case
from benchmarks.shapes import Shape
from benchmarks.steps import block_run, dense_run

SHAPE = Shape(8, 16, 8, 6)


def test_a_training_step_leaves_gradients_and_inference_none() -> None:
    case = block_case(SHAPE, 0.5, torch.float32, 4)
    for run in (block_run, dense_run):
        out: Any = run(case, torch.float32, False)()
        assert not out.requires_grad
        assert run(case, torch.float32, True)() is None
    assert all(weight.grad is not None for weight in case.rival.parameters())
    assert case.block.training


def test_a_stand_in_for_the_dense_block_is_what_runs() -> None:
    case = block_case(SHAPE, 0.5, torch.float32, 4)
    ran: list[int] = []

    def stand_in(maps: torch.Tensor) -> torch.Tensor:
        ran.append(1)
        out: torch.Tensor = case.rival(maps)
        return out

    dense_run(case, torch.float32, True, stand_in)()
    assert ran == [1]  # what is returned is asked of the block itself
