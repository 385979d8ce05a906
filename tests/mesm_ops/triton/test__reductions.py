"""Sums and statistics over rows, tile by tile, against torch's in float64."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton._reductions import TILE_ROWS, column_sums, combine, tiles_of, total

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COUNTS = [0, 1, TILE_ROWS, TILE_ROWS + 1, 5 * TILE_ROWS - 3]


def offsets_to(count: int) -> torch.Tensor:
    return torch.tensor([0, count // 2, count], dtype=torch.int32, device=DEVICE)


def test_tiles() -> None:
    assert [tiles_of(rows) for rows in (0, 1, 128, 129)] == [0, 1, 1, 2]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_column_sums_leave_the_padding_out(count: int, dtype: torch.dtype) -> None:
    features = torch.randn(count + 7, 70).to(dtype)
    features[count:] = torch.nan
    got = column_sums(features.to(DEVICE), offsets_to(count)).cpu()
    assert got.dtype == torch.float32
    # Float32 sums of at most 640 values of about 1, in any order.
    torch.testing.assert_close(got.double(), features[:count].double().sum(0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("parts", [1, 2])
def test_total_adds_the_tiles_there_are(parts: int) -> None:
    partial = torch.randn(6, parts, 11)
    partial[4:] = torch.nan  # of padding alone
    found = total(partial.to(DEVICE), offsets_to(3 * TILE_ROWS + 1))
    wanted = partial[:4].double().sum(0)
    assert len(found) == parts
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.cpu().double(), other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("middle", [0.0, 1e4])
def test_combine_merges_means_and_deviations(count: int, middle: float) -> None:
    rows = torch.randn(count, 5) + middle
    tiles = rows.double().split(TILE_ROWS) if count else ()
    parts = [torch.stack([t.mean(0), t.var(0, correction=0) * len(t)]) for t in tiles]
    partial = torch.stack([*parts, torch.full((2, 5), torch.nan)]).float()  # the last: padding
    weight, bias = torch.randn(5), torch.randn(5)
    given = (t.to(DEVICE) for t in (partial, offsets_to(count), weight, bias))
    mean, var, scale, shift = (t.cpu() for t in combine(*given, eps=1e-3))
    wanted = torch.zeros(2, 5, dtype=torch.float64)
    if count:
        wanted = torch.stack([rows.double().mean(0), rows.double().var(0, correction=0)])
    # 1e4 has 2^-10 between neighbours: means of tiles, which differ by about 0.3, err by half.
    torch.testing.assert_close(mean.double(), wanted[0], rtol=1e-6, atol=1e-6)
    atol = 2 * 0.3 * 2**-11 if middle else 1e-5
    torch.testing.assert_close(var.double(), wanted[1], rtol=1e-5, atol=atol)
    factor = weight / (var + 1e-3).sqrt()
    torch.testing.assert_close(scale, factor, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(shift, bias - mean * factor, rtol=1e-5, atol=1e-5 * (1 + middle))
    assert combine(partial.to(DEVICE), offsets_to(count))[2:] == (None, None)
