from __future__ import annotations

import pytest
import torch

from mesm_ops import reference
from mesm_ops.triton.neighbours import neighbour_table
from mesm_ops.triton.norm_pool import fold_norm, norm_pool
from tests.mesm_ops.cases import make_case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("shape", "density"), [((3, 5, 7, 9), 0.5), ((2, 70, 4, 2), 1.0), ((4, 3, 3, 3), 0.2)]
)
def test_equals_norm_then_pool(
    dtype: torch.dtype, shape: tuple[int, int, int, int], density: float
) -> None:
    x = make_case(*shape, density, dtype, padding=3).x
    y, rows = x.features.clone(), int(x.offsets[-1])
    y[torch.rand(y.shape) < 0.1] = torch.nan  # the greatest of its window
    y, sites, offsets = y.to(DEVICE), x.sites.to(DEVICE), x.offsets.to(DEVICE)
    # Powers of two: exact in every dtype, so that all agree on what is equal.
    scale = torch.tensor([1.0, -0.5, 2.0]).repeat(shape[1])[: shape[1]].to(DEVICE)
    shift = torch.tensor([0.5, 0.0]).repeat(shape[1])[: shape[1]].to(DEVICE)
    z = (y.float() * scale + shift).relu().to(dtype)
    place = (sites, offsets, x.height, x.width, False)
    wanted, _, _, where = reference.sparse_max_pool2d(z, *place)
    *_, first = reference.sparse_max_pool2d(torch.zeros_like(y[:, :1]), *place)

    table = neighbour_table(sites, offsets, x.height, x.width)
    got, argmax = norm_pool(y, sites, table, first[:, 0], x.width, scale, shift, True)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(argmax, where)
    assert int(argmax.max()) < rows
    other, nothing = norm_pool(y, sites, table, first[:, 0], x.width, scale, shift, False)
    torch.testing.assert_close(other, wanted, rtol=0, atol=0, equal_nan=True)
    assert nothing.numel() == 0


def test_folds_a_norm() -> None:
    weight, bias, mean, x = (torch.randn(130, device=DEVICE) for _ in range(4))
    var = torch.rand(130, device=DEVICE) + 0.5
    scale, shift, same_mean, same_var = fold_norm(weight, bias, mean.double(), var, 1e-3)
    wanted = (x - mean) / (var + 1e-3).sqrt() * weight + bias
    torch.testing.assert_close(x * scale + shift, wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(same_mean, mean)
    assert torch.equal(same_var, var)
