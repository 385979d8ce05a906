from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mesm_ops.triton.parts.layout import TILE
from mesm_ops.triton.parts.norms import Norm, norm_of
from mesm_ops.triton.parts.reductions import column_sums, combine, total

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COUNTS = [0, 1, TILE, TILE + 1, 5 * TILE - 3]
EPS = 1e-3


def number_of(rows: int) -> Tensor:
    return torch.tensor([rows], dtype=torch.int32, device=DEVICE)


def norm(channels: int) -> Norm:
    return norm_of(torch.randn(channels, device=DEVICE), torch.randn(channels, device=DEVICE), EPS)


def sums_of(rows: Tensor, parts: int, centred: bool = False) -> Tensor:
    """A convolution's sums over the tiles of each part, float32; NaN for a part without tiles."""
    tiles = rows.split(TILE) if len(rows) else ()
    out = torch.full((parts, 2, rows.shape[1]), torch.nan)
    for part in range(min(parts, len(tiles))):
        mine = torch.cat(tiles[part::parts])
        if centred:
            squares = mine.double().var(0, correction=0) * len(mine)
            out[part] = torch.stack([mine.double().mean(0), squares]).float()
        else:
            out[part] = torch.stack([mine.sum(0), mine.square().sum(0)])
    return out.to(DEVICE)


def moments(rows: Tensor, size: int) -> Tensor:
    tiles = rows.double().split(size) if len(rows) else ()
    parts = [torch.stack([t.mean(0), t.var(0, correction=0) * len(t)]) for t in tiles]
    return torch.stack([*parts, torch.full((2, rows.shape[1]), torch.nan)]).float().to(DEVICE)


def exact_moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    if not len(rows):
        return (torch.zeros(rows.shape[1], dtype=torch.float64),) * 2
    return rows.double().mean(0), rows.double().var(0, correction=0)


def check_norm(got: Norm, middle: float = 0.0) -> None:
    """Scale and shift are those of mean and variance."""
    weight, bias, mean, var, scale, shift = (t.cpu().double() for t in got[:6])
    factor = weight / (var + EPS).sqrt()
    torch.testing.assert_close(scale, factor, rtol=1e-6, atol=0)
    atol = 1e-6 * (1 + middle)
    torch.testing.assert_close(shift, bias - mean * factor, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("distance", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("parts", [1, 3, 700])
@pytest.mark.parametrize("centred", [True, False])
def test_combine_tiles_in_turns(count: int, distance: float, parts: int, centred: bool) -> None:
    rows = torch.randn(count, 11) + distance
    got = norm(11)
    combine(sums_of(rows, parts, centred), parts, number_of(count), got, centred=centred)
    mean, var = exact_moments(rows)
    # Float32 sums of y and of its square: one part in 2^24 of distance + 1, and of its square, a
    # few times over; about the mean, of the spread alone.
    ulp = 2.0**-24
    torch.testing.assert_close(got.mean.cpu().double(), mean, rtol=0, atol=8 * ulp * (4 + distance))
    atol = 8 * ulp * (4 + (distance if centred else distance**2))
    torch.testing.assert_close(got.var.cpu().double(), var, rtol=0, atol=atol)
    check_norm(got, distance)


def test_merging_parts_adds_nothing_to_what_rounding_took_from_them() -> None:
    # Plain float32 sums over all parts would be wrong by some 2^-24 * 200^2 = 2e-3.
    rows = torch.randn(600 * TILE, 2) + 200
    given = sums_of(rows.double(), 1000)
    got = norm(2)
    combine(given, 1000, number_of(len(rows)), got, centred=False)
    # Rounding each part's sums is random, so that 600 of them leave a 24th of one's error.
    torch.testing.assert_close(got.var.cpu().double(), exact_moments(rows)[1], rtol=0, atol=4e-4)


@pytest.mark.parametrize("count", [0, 1, 40, 41, 320])
def test_combine_even_shares(count: int) -> None:
    rows = torch.randn(count, 3) + 2
    parts, tile = 4, 8
    size = -(-max(-(-count // parts), 1) // tile) * tile
    given = moments(rows, size)
    given = torch.cat([given, given.new_full((parts, 2, 3), torch.nan)])[:parts]
    got = norm(3)
    combine(given, parts, number_of(count), got, centred=True, even=tile)
    mean, var = exact_moments(rows)
    torch.testing.assert_close(got.mean.cpu().double(), mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got.var.cpu().double(), var, rtol=1e-6, atol=1e-6)


def test_more_parts_than_are_under_way_at_once() -> None:
    count, parts = 1400 * TILE + 5, 1500
    rows = torch.randn(count, 1) * 2 + 1
    got = norm(1)
    combine(sums_of(rows, parts), parts, number_of(count), got, centred=False)
    mean, var = exact_moments(rows)
    torch.testing.assert_close(got.mean.cpu().double(), mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.var.cpu().double(), var, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tiles", [0, 1, 4, 300])
def test_total_adds_the_parts_there_are(tiles: int, dtype: torch.dtype) -> None:
    partial = torch.randn(tiles + 2, 2, 11)
    partial[tiles:] = torch.nan  # of padding alone
    var = torch.rand(11) + 0.5
    wanted = partial[:tiles].double().sum(0)
    wanted[1] /= (var.double() + EPS).sqrt()
    rows = max(tiles * TILE - 5, 0)
    for given, number in ((partial, number_of(rows)), (partial[:tiles], None)):
        sums = torch.full((2, 11), torch.nan, device=DEVICE)
        of_weight, of_bias = (torch.empty(11, dtype=dtype, device=DEVICE) for _ in range(2))
        total(given.to(DEVICE), number, var.to(DEVICE), EPS, sums, of_weight, of_bias)
        torch.testing.assert_close(sums.cpu().double(), wanted, rtol=1e-6, atol=1e-5)
        assert torch.equal(of_bias, sums[0].to(dtype))
        assert torch.equal(of_weight, sums[1].to(dtype))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_column_sums_leave_the_padding_out(count: int, dtype: torch.dtype) -> None:
    features = torch.randn(count + 7, 70).to(dtype)
    features[count:] = torch.nan
    got = column_sums(features.to(DEVICE), number_of(count)).cpu()
    assert got.dtype == torch.float32
    # Float32 sums of at most 640 values of about 1, in any order.
    torch.testing.assert_close(got.double(), features[:count].double().sum(0), rtol=0, atol=1e-4)


def test_two_runs_agree_bit_for_bit() -> None:
    rows = torch.randn(70 * TILE, 6)
    given = sums_of(rows, 1000)
    one = norm(6)
    other = norm_of(one.weight, one.bias, EPS)
    for got in (one, other):
        combine(given, 1000, number_of(len(rows)), got, centred=False)
    for a, b in zip(one[2:6], other[2:6], strict=True):
        assert torch.equal(a, b)
