from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mesm_ops.triton.parts.norms import Norm, norm_of
from mesm_ops.triton.parts.persistent import TILE_ROWS
from mesm_ops.triton.parts.reductions import Running, column_sums, combine, total

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COUNTS = [0, 1, TILE_ROWS, TILE_ROWS + 1, 5 * TILE_ROWS - 3]
EPS = 1e-3


def number_of(rows: int) -> Tensor:
    return torch.tensor([rows], dtype=torch.int32, device=DEVICE)


def norm(channels: int) -> Norm:
    return norm_of(torch.randn(channels, device=DEVICE), torch.randn(channels, device=DEVICE), EPS)


def sums_about(rows: Tensor, pivot: Tensor) -> Tensor:
    """A convolution's float32 sums over each tile, and NaN for a tile of padding."""
    away = [tile - pivot for tile in rows.split(TILE_ROWS)] if len(rows) else []
    parts = [torch.stack([tile.sum(0), tile.square().sum(0)]) for tile in away]
    return torch.stack([*parts, torch.full((2, rows.shape[1]), torch.nan)]).to(DEVICE)


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
def test_combine_about_a_pivot(count: int, distance: float) -> None:
    rows = torch.randn(count, 11) + 3
    pivot = torch.full((11,), 3 - distance)
    got = norm(11)
    combine(sums_about(rows, pivot), number_of(count), got, pivot=pivot.to(DEVICE))
    mean, var = exact_moments(rows)
    # Float32 sums of y - pivot and of its square: one part in 2^24 of distance + 1, and of its
    # square, a few times over.
    ulp = 2.0**-24
    torch.testing.assert_close(got.mean.cpu().double(), mean, rtol=0, atol=8 * ulp * (4 + distance))
    torch.testing.assert_close(
        got.var.cpu().double(), var, rtol=0, atol=8 * ulp * (4 + distance**2)
    )
    check_norm(got)


def test_merging_parts_adds_nothing_to_what_rounding_took_from_them() -> None:
    # Plain float32 sums over all parts would be wrong by some 2^-24 * 200^2 = 2e-3.
    rows = torch.randn(600 * TILE_ROWS, 2) + 200
    given = sums_about(rows.double(), torch.zeros(2)).float()
    got = norm(2)
    combine(given, number_of(len(rows)), got, pivot=torch.zeros(2, device=DEVICE))
    # Rounding each part's sums is random, so that 600 of them leave a 24th of one's error.
    torch.testing.assert_close(got.var.cpu().double(), exact_moments(rows)[1], rtol=0, atol=4e-4)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("middle", [0.0, 1e4])
def test_combine_moments(count: int, middle: float) -> None:
    rows = torch.randn(count, 5) + middle
    got = norm(5)
    combine(moments(rows, TILE_ROWS), number_of(count), got)
    mean, var = exact_moments(rows)
    # 1e4 has 2^-10 between neighbours: means of tiles, which differ by about 0.3, err by half.
    torch.testing.assert_close(got.mean.cpu().double(), mean, rtol=1e-6, atol=1e-6)
    atol = 2 * 0.3 * 2**-11 if middle else 1e-5
    torch.testing.assert_close(got.var.cpu().double(), var, rtol=1e-5, atol=atol)
    check_norm(got, middle)


@pytest.mark.parametrize("count", [0, 1, 40, 41, 320])
def test_combine_even_shares(count: int) -> None:
    rows = torch.randn(count, 3) + 2
    parts, tile = 4, 8
    size = -(-max(-(-count // parts), 1) // tile) * tile
    given = moments(rows, size)
    given = torch.cat([given, given.new_full((parts, 2, 3), torch.nan)])[:parts]
    got = norm(3)
    combine(given, number_of(count), got, even=tile)
    mean, var = exact_moments(rows)
    torch.testing.assert_close(got.mean.cpu().double(), mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got.var.cpu().double(), var, rtol=1e-6, atol=1e-6)


def test_more_parts_than_are_under_way_at_once() -> None:
    count = 1400 * TILE_ROWS + 5
    rows = torch.randn(count, 1) * 2 + 1
    got = norm(1)
    combine(sums_about(rows, torch.ones(1)), number_of(count), got, pivot=torch.ones(1).to(DEVICE))
    mean, var = exact_moments(rows)
    torch.testing.assert_close(got.mean.cpu().double(), mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.var.cpu().double(), var, rtol=1e-6, atol=0)


@pytest.mark.parametrize("momentum", [0.1, 0.75, 1.0])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
@pytest.mark.parametrize("in_place", [True, False])
def test_running_statistics_move_as_torch_moves_them(
    count: int, momentum: float, in_place: bool
) -> None:
    rows = torch.randn(count, 9) * 2 + 3
    wanted = torch.nn.BatchNorm1d(9, momentum=momentum, dtype=torch.float64)
    torch.nn.init.normal_(wanted.running_mean)
    torch.nn.init.uniform_(wanted.running_var, 0.5, 2)
    before = [t.float() for t in (wanted.running_mean, wanted.running_var)]
    for t, b in zip((wanted.running_mean, wanted.running_var), before, strict=True):
        t.copy_(b)
    if count > 1:
        wanted(rows.double())
    elif count:  # torch refuses one row; its variance of zero is taken as it is
        wanted.running_mean.lerp_(rows[0].double(), momentum)
        wanted.running_var.mul_(1 - momentum)
    for given in (momentum, torch.tensor(momentum, device=DEVICE)):
        old = [t.clone().to(DEVICE) for t in before]
        new = old if in_place else [torch.full_like(t, torch.nan) for t in old]
        pivot = old[0].clone()
        partial = sums_about(rows, before[0])
        running = Running(*old, *new, given)
        combine(partial, number_of(count), norm(9), pivot=pivot, running=running)
        if not count:
            assert all(torch.equal(a.cpu(), b) for a, b in zip(new, before, strict=True))
        torch.testing.assert_close(new[0].cpu().double(), wanted.running_mean, rtol=0, atol=4e-6)
        torch.testing.assert_close(new[1].cpu().double(), wanted.running_var, rtol=0, atol=2e-5)


def test_statistics_of_narrow_parameters() -> None:
    rows = torch.randn(50, 4)
    old = [torch.randn(4).bfloat16(), torch.rand(4).bfloat16()]
    new = [torch.empty(4, dtype=torch.bfloat16, device=DEVICE) for _ in range(2)]
    got = norm_of(torch.randn(4).bfloat16().to(DEVICE), torch.randn(4).half().to(DEVICE), EPS)
    running = Running(*(t.to(DEVICE) for t in old), *new, 0.25)
    pivot = torch.zeros(4, device=DEVICE)
    combine(sums_about(rows, torch.zeros(4)), number_of(50), got, pivot=pivot, running=running)
    check_norm(got)
    wanted = [old[0].float().lerp(rows.mean(0), 0.25), old[1].float().lerp(rows.var(0), 0.25)]
    for a, b in zip(new, wanted, strict=True):
        torch.testing.assert_close(a.cpu().float(), b, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tiles", [0, 1, 4, 300])
def test_total_adds_the_parts_there_are(tiles: int, dtype: torch.dtype) -> None:
    partial = torch.randn(tiles + 2, 2, 11)
    partial[tiles:] = torch.nan  # of padding alone
    var = torch.rand(11) + 0.5
    wanted = partial[:tiles].double().sum(0)
    wanted[1] /= (var.double() + EPS).sqrt()
    rows = max(tiles * TILE_ROWS - 5, 0)
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
    rows = torch.randn(70 * TILE_ROWS, 6)
    given, pivot = sums_about(rows, torch.zeros(6)), torch.zeros(6, device=DEVICE)
    one = norm(6)
    other = norm_of(one.weight, one.bias, EPS)
    for got in (one, other):
        combine(given, number_of(len(rows)), got, pivot=pivot)
    for a, b in zip(one[2:6], other[2:6], strict=True):
        assert torch.equal(a, b)
