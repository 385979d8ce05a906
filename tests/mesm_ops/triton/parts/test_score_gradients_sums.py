"""Sums of more lines than are added at a time, and products of odd sizes."""

from __future__ import annotations

import pytest
import torch

from tests.mesm_ops.triton.parts.selections import check_gradients, draw_selection, plan_of


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("frames", "lengths", "k", "depth"),
    [
        (12, [0, 1] * 8 + [4], 33, 130),  # more samples than a block of the products
        (24, [24], 20, 3),  # more chunks of a sample than lines at a time
    ],
)
def test_equals_the_equations(
    frames: int, lengths: list[int], k: int, depth: int, dtype: torch.dtype, one_pass: bool
) -> None:
    if one_pass and dtype == torch.float32:
        dtype = torch.float16
    case = draw_selection((frames, 17, 6, 5), 0.9, lengths, k, depth, dtype)
    check_gradients(case, "weighted", plan_of(case, one_pass, 1))
