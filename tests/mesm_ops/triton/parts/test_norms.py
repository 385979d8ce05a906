from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mesm_ops.triton.parts import persistent
from mesm_ops.triton.parts.norms import Norm, norm_of, norm_rows, norm_statistics
from mesm_ops.triton.parts.reductions import combine
from tests.mesm_ops.triton.parts.folding import fold

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
COUNTS = [0, 1, 128, 131, 300]
EPS = 1e-3


def number_of(rows: int) -> Tensor:
    return torch.tensor([rows], dtype=torch.int32, device=DEVICE)


def folded(channels: int) -> tuple[Norm, Tensor, Tensor]:
    """A norm in evaluation, and its running mean and variance."""
    weight, bias, mean = (torch.randn(channels, device=DEVICE) for _ in range(3))
    var = torch.rand(channels, device=DEVICE) + 0.5
    norm = norm_of(weight, bias, EPS)
    fold(norm, mean, var)
    return norm, mean, var


@pytest.mark.parametrize(
    ("count", "channels"), [(0, 7), (1, 7), (5, 130), (128, 64), (131, 1), (300, 7)]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_and_relu_of_the_rows_there_are(
    dtype: torch.dtype, channels: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistent, "_MULTIPROCESSORS", 1)  # several tiles for each program
    norm, mean, var = folded(channels)
    x = torch.randn(count + 150, channels, device=DEVICE).to(dtype)
    x[count:] = torch.nan  # not read
    out = torch.full_like(x, 7)
    norm_rows(x, number_of(count), norm, out)
    assert (out[count:] == 7).all()  # not written
    wanted = (x[:count].double() - mean) / (var.double() + EPS).sqrt() * norm.weight + norm.bias
    wanted = wanted.relu()
    usual = torch.nn.functional.batch_norm(x[:count], mean, var, norm.weight, norm.bias, eps=EPS)
    error, allowed = ((y.double() - wanted).abs() for y in (out[:count], usual.relu()))
    assert count == 0 or float(error.max()) <= max(2 * float(allowed.max()), 1e-6)


def test_in_place() -> None:
    norm, _, _ = folded(16)
    x = torch.randn(40, 16, device=DEVICE).bfloat16()
    out = torch.empty_like(x)
    norm_rows(x, number_of(40), norm, out)
    norm_rows(x, number_of(40), norm, x)
    assert torch.equal(x, out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_passes_the_relu(dtype: torch.dtype) -> None:
    norm, _, _ = folded(3)
    x = torch.zeros(5, 3, device=DEVICE).to(dtype)
    x[2, 1] = torch.nan
    norm_rows(x, number_of(5), norm, x)
    assert x.cpu().isnan().nonzero().tolist() == [[2, 1]]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("middle", [0.0, 1000.0])
def test_statistics_of_shares(count: int, middle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistent, "_MULTIPROCESSORS", 1)
    x = torch.randn(count + 9, 5) + middle
    x[count:] = torch.nan
    partial, even = norm_statistics(x.to(DEVICE), number_of(count))
    got = norm_of(torch.ones(5, device=DEVICE), torch.zeros(5, device=DEVICE), EPS)
    combine(partial, partial.shape[0], number_of(count), got, centred=True, even=even)
    wanted = torch.zeros(2, 5, dtype=torch.float64)
    if count:
        rows = x[:count].double()
        wanted = torch.stack([rows.mean(0), rows.var(0, correction=0)])
    # 1000 has 2^-14 between neighbours, so half of that for each part, and half for all.
    atol = 2**-14 if middle else 1e-6
    torch.testing.assert_close(got.mean.cpu().double(), wanted[0], rtol=0, atol=atol)
    torch.testing.assert_close(got.var.cpu().double(), wanted[1], rtol=1e-5, atol=1e-5)
