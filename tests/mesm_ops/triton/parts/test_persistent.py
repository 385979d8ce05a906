from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts import persistent
from mesm_ops.triton.parts.persistent import persistent_grid


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 7, 64, 128, 130, 512])
def test_a_thread_holds_16_bytes_a_step(channels: int, dtype: torch.dtype) -> None:
    grid, rows, width = persistent_grid(
        torch.empty(10**6, channels, dtype=dtype, device="meta"), 2, 8
    )
    assert rows * width * dtype.itemsize == 2 * 16 * 32 * persistent.WARPS
    assert (grid[1] - 1) * width < channels <= grid[1] * width


def test_no_more_programs_than_are_resident_or_have_rows() -> None:
    many = persistent_grid(torch.empty(10**6, 512, dtype=torch.bfloat16, device="meta"), 1, 6)
    assert many.grid == (132 * 6 // 4, 4)
    few = persistent_grid(torch.empty(17, 128, dtype=torch.bfloat16), 1, 6)
    assert few.rows == 8
    assert few.grid == (3, 1)
    assert persistent_grid(torch.empty(0, 128), 1, 6).grid[0] == 0


def test_a_wide_map_has_a_program_for_each_block_of_channels() -> None:
    assert persistent_grid(torch.empty(9, 132 * 7 * 128), 1, 6).grid == (1, 132 * 7)
