from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from mesm_ops.triton.score_tile import block_of, tanh_and_slope, tile_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit
def _tanh_kernel(x, tanh, slope, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    t, s = tanh_and_slope(tl.load(x + at))
    tl.store(tanh + at, t)
    tl.store(slope + at, s)


def test_tanh_and_its_slope() -> None:
    x = torch.cat([torch.linspace(-100, 100, 200), torch.linspace(-1, 1, 54)])
    x = torch.cat([x, torch.tensor([-torch.inf, torch.inf])]).to(DEVICE)
    tanh, slope = torch.empty_like(x), torch.empty_like(x)
    _tanh_kernel[(1,)](x, tanh, slope, 256)
    exact = x.double().tanh()
    # An exponential and a division of float32 each: a few units in the last place of values to 1.
    torch.testing.assert_close(tanh.double(), exact, rtol=0, atol=4e-7)
    torch.testing.assert_close(slope.double(), 1 / x.double().cosh() ** 2, rtol=0, atol=4e-7)


@pytest.mark.parametrize(("size", "block"), [(1, 16), (16, 16), (17, 32), (64, 64), (65, 128)])
def test_block_of(size: int, block: int) -> None:
    assert block_of(size) == block


@pytest.mark.parametrize(
    ("rows", "samples", "tile"),
    [(0, 0, 16), (40, 4, 16), (400, 4, 64), (10**6, 4, 128), (70, 1, 64)],
)
def test_few_rows_of_a_sample_have_small_tiles(rows: int, samples: int, tile: int) -> None:
    assert tile_of(rows, samples, 128) == tile
    assert tile_of(rows, samples, 32) == min(tile, 32)
