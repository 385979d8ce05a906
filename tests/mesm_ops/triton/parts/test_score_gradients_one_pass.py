"""Where a program holds the weight and the sum of its gradient."""

from __future__ import annotations

import pytest
import torch

from tests.mesm_ops.triton.parts.selections import check_gradients, draw_selection, plan_of


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["weighted", "straight_through"])
@pytest.mark.parametrize(
    ("shape", "tiles"),
    [
        (((4, 64, 7, 9), 0.9, [1, 0, 3], 64, 20), 2),  # chunks of whole tiles and of parts
        (((3, 128, 5, 5), 0.5, None, 64, 9), 3),  # no chunk fills a tile
        (((2, 64, 9, 9), 1.0, [2], 128, 20), 1),  # a chunk is a tile
        (((4, 17, 5, 7), 0.5, [1, 0, 3], 5, 7), 2),  # nothing is a power of two
    ],
)
def test_equals_the_equations(
    shape: tuple[tuple[int, int, int, int], float, list[int] | None, int, int],
    tiles: int,
    how: str,
    dtype: torch.dtype,
) -> None:
    case = draw_selection(*shape, dtype)
    check_gradients(case, how, plan_of(case, True, tiles))
