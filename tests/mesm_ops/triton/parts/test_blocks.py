from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts.blocks import block_of, programs_of


@pytest.mark.parametrize(("size", "block"), [(1, 16), (16, 16), (17, 32), (64, 64), (65, 128)])
def test_block_of(size: int, block: int) -> None:
    assert block_of(size) == block


def test_programs_grow_with_those_of_a_multiprocessor() -> None:
    one = programs_of(torch.device("cpu"), 1)
    assert one > 1  # so that tests share work too
    assert programs_of(torch.device("cpu"), 4) == 4 * one


@pytest.mark.gpu
def test_programs_fill_the_gpu() -> None:
    count = torch.cuda.get_device_properties(0).multi_processor_count
    assert programs_of(torch.device("cuda", 0), 2) == 2 * count
