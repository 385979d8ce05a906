"""How far sums and functions of the kernels are from float64."""

from __future__ import annotations

import pytest
import torch

from tests.csrc import calls


@pytest.mark.parametrize("channels", [5, 67])
def test_norm_over_many_rows(channels: int) -> None:
    rows, offsets = 100_000, torch.tensor([0, 100_000], dtype=torch.int32)
    x, grad = (torch.randn(rows, channels) + 1000 for _ in range(2))
    ones = torch.ones(channels)
    args = (offsets, ones, 0 * ones)
    _, mean, var = calls.cpp("sparse_batch_norm", x, *args, ones, ones, True, 1e-5, False)
    back = (grad, x, *args, mean, var, True, 1e-5, False)
    _, grad_weight, grad_bias = calls.cpp("sparse_batch_norm_backward", *back)

    wide, pull = x.double(), grad.double()
    # One float32 sum of all rows, 1e8, would be off by up to 4 per addition, its mean by 1e-2 or
    # more. The mean here is that of float64, rounded: 1000 has 2^-14 between neighbours.
    torch.testing.assert_close(mean.double(), wide.mean(0), rtol=0, atol=2**-15 * 1.01)
    torch.testing.assert_close(var.double(), wide.var(0, correction=0), rtol=3e-7, atol=0)
    torch.testing.assert_close(grad_bias.double(), pull.sum(0), rtol=3e-7, atol=0)
    terms = pull * (wide - mean.double()) / (var.double() + 1e-5).sqrt()
    assert ((grad_weight.double() - terms.sum(0)).abs() <= 3e-7 * terms.abs().sum(0)).all()
