"""By way of the gradients inside the tanh, in memory."""

from __future__ import annotations

import pytest
import torch

from tests.mesm_ops.triton.parts.selections import check_gradients, draw_selection, plan_of

SHAPES = {
    "nothing is a power of two": ((4, 17, 5, 7), 0.5, [1, 0, 3], 5, 7),
    "a sample for each frame": ((3, 3, 2, 3), 0.4, None, 2, 3),
    "all sites, one sample": ((5, 64, 6, 5), 1.0, [5], 64, 20),
    "more than one block of channels and of k": ((2, 270, 4, 4), 0.7, [1, 1], 70, 70),
    "no block of k begins with an aligned weight": ((3, 33, 4, 5), 0.6, [2, 1], 65, 9),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["weighted", "straight_through"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_equations(shape: str, how: str, dtype: torch.dtype) -> None:
    case = draw_selection(*SHAPES[shape], dtype)
    check_gradients(case, how, plan_of(case, False, 1))
