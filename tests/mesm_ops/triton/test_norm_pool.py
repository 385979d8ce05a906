from __future__ import annotations

import pytest
import torch

from mesm_ops import SparseFeatureMaps
from mesm_ops.reference import (
    SparseBatchNorm,
    SparseBatchNormBackward,
    SparseMaxPool2d,
    SparseMaxPool2dBackward,
    sparse_batch_norm,
    sparse_batch_norm_backward,
    sparse_max_pool2d,
    sparse_max_pool2d_backward,
)
from mesm_ops.triton.neighbours import neighbour_table
from mesm_ops.triton.norm_pool import fold_norm, norm_pool, norm_pool_backward
from tests.mesm_ops.cases import make_case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def windows_of(x: SparseFeatureMaps) -> list[int]:
    """The window of each row, -1 for an odd last row or column and for padding."""
    found, number = [-1] * len(x.sites), 0
    for begin, end in zip(x.offsets.tolist(), x.offsets[1:].tolist(), strict=False):
        seen: dict[tuple[int, int], list[int]] = {}
        for row in range(begin, end):
            y, column = divmod(int(x.sites[row]), x.width)
            if y // 2 < x.height // 2 and column // 2 < x.width // 2:
                seen.setdefault((y // 2, column // 2), []).append(row)
        for window in sorted(seen):
            for row in seen[window]:
                found[row] = number
            number += 1
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "density"),
    [((9, 5, 7, 9), 0.5), ((30, 70, 4, 6), 1.0), ((3, 3, 3, 3), 0.0), ((0, 3, 4, 4), 1.0)],
)
def test_gradient_is_that_of_the_pool_then_of_the_norm(
    shape: tuple[int, int, int, int], density: float, dtype: torch.dtype, training: bool
) -> None:
    x = make_case(*shape, density, dtype, padding=5).x
    y, rows, channels = x.features, int(x.offsets[-1]), shape[1]
    weight, bias = torch.randn(channels), torch.randn(channels)
    mean, var = torch.randn(channels) * 0.3, torch.rand(channels) + 0.5
    place = (x.sites, x.offsets, x.height, x.width, False)
    norm = (weight, bias, mean, var)
    z, mean, var = sparse_batch_norm(SparseBatchNorm(y, x.offsets, *norm, training, 1e-3, True))
    norm = (weight, bias, mean, var)
    out, _, out_offsets, argmax = sparse_max_pool2d(SparseMaxPool2d(z, *place))
    grad = torch.randn(out.shape).to(dtype)
    between = sparse_max_pool2d_backward(SparseMaxPool2dBackward(grad, argmax, len(y)))
    wanted = sparse_batch_norm_backward(
        SparseBatchNormBackward(between, y, x.offsets, *norm, training, 1e-3, True)
    )
    grad[int(out_offsets[-1]) :] = torch.nan  # padding is not read
    windows = torch.tensor(windows_of(x), dtype=torch.int32)
    given = [t.to(DEVICE) for t in (grad, argmax, y, windows, x.offsets, out_offsets)]
    on_device = tuple(t.to(DEVICE) for t in norm)
    for _ in range(2):
        got = norm_pool_backward(*given, on_device, training, 1e-3)
        for one, other in zip(got, wanted, strict=True):
            # Float32 sums over the rows in another order; then a rounding to the dtype.
            rtol = 1e-5 if one.dtype == torch.float32 else 2**-8
            largest = float(other.abs().max()) if other.numel() else 0.0
            atol = 1e-5 * max(largest, 1.0)
            torch.testing.assert_close(one.cpu(), other, rtol=rtol, atol=atol)
    assert not got[0][rows:].any()


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
    wanted, _, _, where = sparse_max_pool2d(SparseMaxPool2d(z, *place))
    *_, first = sparse_max_pool2d(SparseMaxPool2d(torch.zeros_like(y[:, :1]), *place))

    table = neighbour_table(sites, offsets, x.height, x.width)
    windows = torch.full_like(sites, -1)
    got, argmax = norm_pool(y, sites, table, first[:, 0], x.width, scale, shift, True, windows)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(argmax, where)
    assert int(argmax.max()) < rows
    assert windows.tolist() == windows_of(x)
    other, nothing = norm_pool(
        y, sites, table, first[:, 0], x.width, scale, shift, False, windows.fill_(-1)
    )
    assert (windows == -1).all()
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
