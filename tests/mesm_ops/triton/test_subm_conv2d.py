from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mesm_ops import SparseFeatureMaps, reference, subm_conv2d, use_backend
from tests import oracle
from tests.mesm_ops.cases import (
    TOLERANCES,
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
HALVES = DTYPES[1:]


def on_device(tensor: Tensor) -> Tensor:
    """Move a tensor; a column-major one stays so."""
    return tensor.detach().to(DEVICE).requires_grad_(tensor.requires_grad)


def maps_on_device(case: Case, features: Tensor) -> SparseFeatureMaps:
    x = case.x
    return SparseFeatureMaps(features, x.sites.to(DEVICE), x.offsets.to(DEVICE), x.height, x.width)


def check(case: Case, cout: int, with_bias: bool) -> None:
    """Forward and gradients: the sums are float32, so results err by one rounding at the end."""
    dtype = case.x.dtype
    weight = drawn(cout, case.x.channels, 3, 3, dtype=dtype)
    bias = drawn(cout, dtype=dtype) if with_bias else None
    maps, w = case.maps.requires_grad_(), exact(weight)
    b = None if bias is None else exact(bias)
    wanted = rows_of(oracle.conv(maps, case.mask, w, b), case.mask)

    features, weight = on_device(case.x.features.requires_grad_()), on_device(weight)
    bias = None if bias is None else on_device(bias)
    with use_backend("triton"):
        got = subm_conv2d(maps_on_device(case, features), weight, bias).features
    assert got.dtype == dtype
    assert_rows(got.cpu(), wanted, "out")

    grad = torch.randn(wanted.shape).to(dtype)
    wanted.backward(grad.double())
    got.backward(padded_gradient(grad, features.shape[0]).to(DEVICE))
    assert_rows(features.grad.cpu(), rows_of(maps.grad, case.mask), "grad of features")
    assert_close(weight.grad.cpu(), w.grad, "grad of weight")
    if bias is not None:
        assert_close(bias.grad.cpu(), b.grad, "grad of bias")


@given(case=cases(DTYPES), cout=st.sampled_from([1, 5, 16, 33]), with_bias=st.booleans())
@settings(max_examples=15)
def test_equals_the_oracle(case: Case, cout: int, with_bias: bool) -> None:
    check(case, cout, with_bias)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_the_oracle_where_tiles_are_many(dtype: torch.dtype) -> None:
    # Three tiles of rows, two of channels, two steps over them; parts of the weight gradient.
    check(make_case(1, 70, 25, 23, 0.97, dtype, padding=140), cout=130, with_bias=True)


@pytest.mark.parametrize("dtype", HALVES)
def test_errs_at_most_twice_as_torch_does(dtype: torch.dtype) -> None:
    case = make_case(2, 96, 9, 11, dtype=dtype)
    weight = (torch.randn(40, 96, 3, 3) / (9 * 96) ** 0.5).to(dtype)
    wanted = oracle.conv(case.maps, case.mask, weight.double(), None)
    dense = torch.nn.functional.conv2d(
        (case.maps * case.mask[:, None]).to(dtype), weight, padding=1
    )
    with use_backend("triton"):
        got = subm_conv2d(maps_on_device(case, on_device(case.x.features)), on_device(weight))
    error = (got.to_dense().cpu().double() - wanted).norm()
    assert error <= 2 * ((dense.double() * case.mask[:, None]) - wanted).norm()


def test_nan_stays_among_its_neighbours() -> None:
    case = make_case(1, 2, 6, 6, 1.0, torch.float32)
    features = case.x.features.clone()
    features[7] = torch.nan  # at (1, 1)
    with use_backend("triton"):
        out = subm_conv2d(
            maps_on_device(case, features.to(DEVICE)), torch.ones(3, 2, 3, 3, device=DEVICE)
        )
    hit = out.to_dense().cpu().isnan().any(1)[0]
    assert hit[:3, :3].all()
    assert hit.sum() == 9


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False,) * 3])
def test_what_is_not_needed_is_empty(needs: tuple[bool, bool, bool]) -> None:
    x = maps_on_device(case := make_case(1, 3, 4, 4, dtype=torch.float32), case.x.features)
    weight = torch.randn(5, 3, 3, 3, device=DEVICE)
    grad = torch.randn(x.features.shape[0], 5, device=DEVICE)
    args = (grad, x.features.to(DEVICE), x.sites, x.offsets, 4, 4, weight, *needs)
    with use_backend("triton"):
        grads = torch.ops.mesm_ops.subm_conv2d_backward(*args)
    for grad, need, of in zip(grads, needs, (x.features, weight, weight[0]), strict=True):
        assert grad.shape == (of.shape if need else (0,))


def test_two_runs_agree_bit_for_bit() -> None:
    case = make_case(1, 20, 25, 23, 0.9, torch.float32, padding=4)
    weight = torch.randn(18, 20, 3, 3)
    grad = torch.randn(case.x.features.shape[0], 18)
    args = (case.x.features, case.x.sites, case.x.offsets, 25, 23, weight)
    args = tuple(arg.to(DEVICE) if isinstance(arg, Tensor) else arg for arg in args)
    with use_backend("triton"):
        one, other = (
            torch.ops.mesm_ops.subm_conv2d_backward(grad.to(DEVICE), *args, True, True, True)
            for _ in range(2)
        )
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


def test_equals_the_reference_on_a_strided_padded_case() -> None:
    case = make_case(2, 7, 6, 5, dtype=torch.float32, padding=3, strided=True)
    weight, bias = torch.randn(6, 7, 3, 3), torch.randn(6)
    wanted = reference.subm_conv2d(
        reference.SubmConv2d(case.x.features, case.x.sites, case.x.offsets, 6, 5, weight, bias)
    )
    features = case.x.features.to(DEVICE)
    assert not features.is_contiguous()
    with use_backend("triton"):
        got = subm_conv2d(maps_on_device(case, features), weight.to(DEVICE), bias.to(DEVICE))
    rtol, atol = TOLERANCES[torch.float32]
    torch.testing.assert_close(got.features.cpu(), wanted, rtol=rtol, atol=atol)
