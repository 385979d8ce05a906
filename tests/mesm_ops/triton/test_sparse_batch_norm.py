from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mesm_ops import SparseFeatureMaps, reference, sparse_batch_norm, use_backend
from tests import oracle
from tests.mesm_ops.cases import (
    Case,
    assert_close,
    assert_rows,
    cases,
    drawn,
    exact,
    make_case,
    padded_gradient,
    rows_of,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def parameters(channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return running mean and variance, weight and bias."""
    return (
        drawn(channels, dtype=dtype, grad=False),
        torch.rand(channels).add(0.5).to(dtype),
        drawn(channels, dtype=dtype),
        drawn(channels, dtype=dtype),
    )


def on_device(tensor: Tensor) -> Tensor:
    return tensor.detach().to(DEVICE).requires_grad_(tensor.requires_grad)


def norm(
    case: Case, features: Tensor, given: list[Tensor], training: bool, relu: bool
) -> SparseFeatureMaps:
    x = case.x
    maps = SparseFeatureMaps(features, x.sites.to(DEVICE), x.offsets.to(DEVICE), x.height, x.width)
    with use_backend("triton"):
        return sparse_batch_norm(maps, *given, training, 0.3, 1e-3, relu)


def check(case: Case, training: bool, relu: bool, wide_parameters: bool) -> None:
    """Forward, gradients and statistics, at the tolerances of the other backends."""
    dtype = case.x.dtype
    given = parameters(case.x.channels, torch.float32 if wide_parameters else dtype)
    mean, var, weight, bias = given
    maps, w, b = case.maps.requires_grad_(), exact(weight), exact(bias)
    out, batch_mean, batch_var = oracle.batch_norm(
        maps, case.mask, w, b, exact(mean), exact(var), training, 1e-3, relu
    )
    wanted = rows_of(out, case.mask)

    features, moved = on_device(case.x.features.requires_grad_()), [on_device(t) for t in given]
    before = [mean.clone(), var.clone()]
    got = norm(case, features, moved, training, relu).features
    assert got.dtype == dtype
    # Few rows may lie close together: dividing by their spread of down to sqrt(eps) = 0.03
    # magnifies the rounding of their mean.
    assert_rows(got.cpu(), wanted, "out", loosen=4)

    grad = torch.randn(wanted.shape).to(dtype)
    grad[wanted.abs() < 1e-4] = 0  # within rounding of the ReLU's corner either side is right
    wanted.backward(grad.double())
    got.backward(padded_gradient(grad, features.shape[0]).to(DEVICE))
    _, _, weight, bias = moved
    assert_rows(features.grad.cpu(), rows_of(maps.grad, case.mask), "grad of features", loosen=30)
    assert_close(weight.grad.cpu(), w.grad, "grad of weight", loosen=4)
    assert_close(bias.grad.cpu(), b.grad, "grad of bias", loosen=4)

    mean, var = (t.cpu() for t in moved[:2])
    if not training or not case.rows:
        assert torch.equal(mean, before[0])
        assert torch.equal(var, before[1])
        return
    unbiased = batch_var * case.rows / max(case.rows - 1, 1)
    assert_close(mean, before[0].double().lerp(batch_mean, 0.3), "running mean", loosen=2)
    assert_close(var, before[1].double().lerp(unbiased, 0.3), "running var", loosen=2)


@given(
    case=cases(DTYPES), training=st.booleans(), relu=st.booleans(), wide_parameters=st.booleans()
)
@settings(max_examples=20)
def test_equals_the_oracle(case: Case, training: bool, relu: bool, wide_parameters: bool) -> None:
    check(case, training, relu, wide_parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
def test_equals_the_oracle_over_many_tiles(dtype: torch.dtype, training: bool) -> None:
    check(make_case(4, 70, 16, 16, 0.7, dtype, padding=150), training, True, True)


def test_more_tiles_than_a_program_merges_at_once() -> None:
    # Each lane of the second kernel merges two tiles: 129 or more of 128 rows.
    case = make_case(66, 1, 16, 17, 1.0, torch.float32)
    assert case.rows > 129 * 128
    check(case, True, False, True)


def test_a_large_mean_costs_no_precision() -> None:
    case = make_case(8, 8, 9, 9, 1.0, torch.float32)
    features = case.x.features + 1000
    given = [torch.zeros(8), torch.ones(8), torch.ones(8), torch.zeros(8)]
    got = norm(case, features.to(DEVICE), [t.to(DEVICE) for t in given], True, False).features
    rows = features.double()
    wanted = (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-3).sqrt()
    # 1000 has 2^-14 between neighbours; two passes over the rows lose no more than that.
    torch.testing.assert_close(got.cpu().double(), wanted, rtol=0, atol=2**-12)


@pytest.mark.parametrize("training", [True, False])
def test_returns_the_statistics_that_it_used(training: bool) -> None:
    case = make_case(2, 5, 6, 6, 0.5, torch.bfloat16, padding=2)
    mean, var, weight, bias = (t.detach() for t in parameters(5, torch.bfloat16))
    args = (case.x.features, case.x.offsets, weight, bias, mean, var, training, 1e-5, True)
    wanted = reference.sparse_batch_norm(reference.SparseBatchNorm(*args))
    with use_backend("triton"):
        got = torch.ops.mesm_ops.sparse_batch_norm(
            *(arg.to(DEVICE) if isinstance(arg, Tensor) else arg for arg in args)
        )
    for a, b in zip(got[1:], wanted[1:], strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.cpu(), b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("training", [True, False])
def test_of_no_frames(training: bool, rows: int) -> None:
    check(make_case(0, 4, 3, 3, 1.0, torch.float32, padding=rows), training, True, True)


def test_nan_passes_the_relu() -> None:
    case = make_case(1, 2, 2, 2, 1.0, torch.float32)
    features = case.x.features.clone()
    features[0, 0] = torch.nan
    given = [on_device(p.detach()) for p in parameters(2, torch.float32)]
    got = norm(case, features.to(DEVICE), given, False, True)
    assert got.features.cpu().isnan().nonzero().tolist() == [[0, 0]]


def test_two_runs_agree_bit_for_bit() -> None:
    case = make_case(3, 20, 13, 13, 0.8, torch.float32, padding=9)
    mean, var, weight, bias = (t.detach() for t in parameters(20, torch.float32))
    x, offsets = case.x.features.to(DEVICE), case.x.offsets.to(DEVICE)
    mean, var, weight, bias = (t.to(DEVICE) for t in (mean, var, weight, bias))
    grad = torch.randn(x.shape).to(DEVICE)

    def run() -> list[Tensor]:
        forward = torch.ops.mesm_ops.sparse_batch_norm
        out = forward(x, offsets, weight, bias, mean, var, True, 1e-5, True)
        backward = torch.ops.mesm_ops.sparse_batch_norm_backward
        return [*out, *backward(grad, x, offsets, weight, bias, *out[1:], True, 1e-5, True)]

    with use_backend("triton"):
        one, other = run(), run()
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))
