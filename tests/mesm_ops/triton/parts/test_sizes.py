from __future__ import annotations

import pytest
import torch
import triton

from mesm_ops.triton.parts import sizes
from mesm_ops.triton.parts.sizes import block_of, cdiv, next_power_of_2, programs_of


@pytest.mark.parametrize(("size", "block"), [(1, 16), (16, 16), (17, 32), (64, 64), (65, 128)])
def test_block_of(size: int, block: int) -> None:
    assert block_of(size) == block


@pytest.mark.parametrize("size", [1, 2, 3, 127, 128, 129, 1 << 20])
def test_as_triton_reckons(size: int) -> None:
    assert next_power_of_2(size) == triton.next_power_of_2(size)
    for block in (1, 7, 128):
        assert cdiv(size, block) == triton.cdiv(size, block)


@pytest.mark.parametrize("interpreted", [True, False])
def test_capability(interpreted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes.capability_of.cache_clear()
    monkeypatch.setattr(sizes, "triton_interprets", lambda: interpreted)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (12, device.index))
    assert sizes.capability_of(torch.device("cuda", 1)) == (9 if interpreted else 12)
    sizes.capability_of.cache_clear()


def test_programs_grow_with_those_of_a_multiprocessor() -> None:
    one = programs_of(torch.device("cpu"), 1)
    assert one > 1  # so that tests share work too
    assert programs_of(torch.device("cpu"), 4) == 4 * one


@pytest.mark.gpu
def test_programs_fill_the_gpu() -> None:
    count = torch.cuda.get_device_properties(0).multi_processor_count
    assert programs_of(torch.device("cuda", 0), 2) == 2 * count
