from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from mesm_ops import SparseFeatureMaps, subm_conv2d
from tests import oracle
from tests.mesm_ops.cases import (
    Case,
    assert_close,
    assert_rows,
    cases,
    drawn,
    dtypes_of,
    exact,
    make_case,
    padded_gradient,
    rows_of,
)


def check(case: Case, cout: int, with_bias: bool) -> None:
    dtype = case.x.dtype
    weight = drawn(cout, case.x.channels, 3, 3, dtype=dtype)
    bias = drawn(cout, dtype=dtype) if with_bias else None
    features = case.x.features.requires_grad_()
    maps, w = case.maps.requires_grad_(), exact(weight)
    b = None if bias is None else exact(bias)

    wanted = rows_of(oracle.conv(maps, case.mask, w, b), case.mask)
    got = subm_conv2d(case.x.with_features(features), weight, bias)
    assert got.dtype == dtype
    assert_rows(got.features, wanted, "out")

    grad = torch.randn(wanted.shape).to(dtype)
    wanted.backward(grad.double())
    got.features.backward(padded_gradient(grad, features.shape[0]))
    assert_rows(features.grad, rows_of(maps.grad, case.mask), "grad of features")
    assert_close(weight.grad, w.grad, "grad of weight")
    if bias is not None:
        assert_close(bias.grad, b.grad, "grad of bias")


@given(data=st.data(), cout=st.sampled_from([1, 5, 16, 33]), with_bias=st.booleans())
@settings(max_examples=60)
def test_equals_the_oracle(backend: str, data: st.DataObject, cout: int, with_bias: bool) -> None:
    check(data.draw(cases(dtypes_of(backend))), cout, with_bias)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_the_oracle_where_all_tiles_are_used(backend: str, dtype: torch.dtype) -> None:
    check(make_case(3, 64, 13, 11, dtype=dtype, padding=7), cout=96, with_bias=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_errs_as_the_dense_convolution_does(backend: str, dtype: torch.dtype) -> None:
    case = make_case(4, 128, 13, 11, dtype=dtype)
    weight = (torch.randn(96, 128, 3, 3) / (9 * 128) ** 0.5).to(dtype)
    wanted = oracle.conv(case.maps, case.mask, weight.double(), None)
    x = (case.maps * case.mask[:, None]).to(dtype).contiguous(memory_format=torch.channels_last)
    last = weight.contiguous(memory_format=torch.channels_last)
    dense = torch.nn.functional.conv2d(x, last, padding=1).double() * case.mask[:, None]
    error = (subm_conv2d(case.x, weight).to_dense().double() - wanted).norm()
    # The same sums in another order: seen 1.00 times dense's error, channels-last as its rival is.
    assert error <= 2 * (dense - wanted).norm()


def test_one_site_sees_the_centre_of_the_kernel(backend: str) -> None:
    mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    mask[0, 2, 3] = True
    x = SparseFeatureMaps.from_dense(torch.randn(1, 4, 5, 5), mask)
    weight = torch.randn(6, 4, 3, 3)
    torch.testing.assert_close(
        subm_conv2d(x, weight).features, x.features @ weight[:, :, 1, 1].T, rtol=1e-5, atol=1e-5
    )


def test_rows_do_not_wrap_around_the_edge(backend: str) -> None:
    # Sites 2 and 3 of a 3-wide map are neighbours in memory, not in the map.
    mask = torch.tensor([[[False, False, True], [True, False, False]]])
    x = SparseFeatureMaps.from_dense(torch.ones(1, 1, 2, 3), mask)
    assert subm_conv2d(x, torch.ones(1, 1, 3, 3)).features.flatten().tolist() == [1.0, 1.0]


def test_nan_stays_among_its_neighbours(backend: str) -> None:
    maps = torch.zeros(2, 2, 6, 6)
    maps[0, 0, 1, 1] = torch.nan
    x = SparseFeatureMaps.from_dense(maps)
    seen = subm_conv2d(x, torch.ones(3, 2, 3, 3)).to_dense().isnan().any(1)
    wanted = torch.zeros(2, 6, 6, dtype=torch.bool)
    wanted[0, 0:3, 0:3] = True
    assert torch.equal(seen, wanted)


def test_gradients_that_are_not_needed_are_not_computed(backend: str) -> None:
    case = make_case(2, 3, 4, 4, dtype=torch.float32)
    x, weight = case.x, torch.randn(5, 3, 3, 3, requires_grad=True)
    out = subm_conv2d(x, weight).features
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * oracle.pairs(case.mask) * 3 * 5  # not those of x
    args = (torch.ones_like(out), x.features, x.sites, x.offsets, 4, 4, weight.detach())
    grads = torch.ops.mesm_ops.subm_conv2d_backward(*args, False, False, False)
    assert [tuple(grad.shape) for grad in grads] == [(0,), (0,), (0,)]


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_flops_are_those_of_active_pairs(backend: str, density: float) -> None:
    case = make_case(3, 6, 5, 7, density, torch.float32, padding=4)
    weight = torch.randn(8, 6, 3, 3, requires_grad=True)
    x = case.x.with_features(case.x.features.requires_grad_())
    one = 2 * oracle.pairs(case.mask) * 6 * 8
    with FlopCounterMode(display=False) as counter:
        out = subm_conv2d(x, weight)
        assert counter.get_total_flops() == one
        out.features.sum().backward()
    assert counter.get_total_flops() == 3 * one


def test_autocast_casts_as_a_convolution_does(backend: str) -> None:
    x = make_case(2, 8, 5, 5, dtype=torch.float32).x
    x = x.with_features(x.features.requires_grad_())
    weight = torch.randn(4, 8, 3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = subm_conv2d(x, weight)
    assert out.dtype == torch.bfloat16
    cast = subm_conv2d(x.with_features(x.features.bfloat16()), weight.bfloat16())
    assert torch.equal(out.features, cast.features)
    out.features.float().square().sum().backward()
    assert x.features.grad.dtype == weight.grad.dtype == torch.float32
    assert x.features.grad.any()
    assert weight.grad.any()


def test_autocast_leaves_float64_alone(backend: str) -> None:
    x = make_case(1, 2, 4, 4).x
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        assert subm_conv2d(x, weight).dtype == torch.float64


def test_gradcheck(backend: str) -> None:
    x = make_case(2, 3, 4, 5, padding=2).x
    features = x.features.nan_to_num(0).requires_grad_()
    weight, bias = drawn(4, 3, 3, 3, dtype=torch.float64), drawn(4, dtype=torch.float64)

    def run(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return subm_conv2d(x.with_features(features), weight, bias).features

    assert torch.autograd.gradcheck(run, (features, weight, bias))


def test_second_order_gradients_are_refused(backend: str) -> None:
    x = make_case(1, 2, 3, 3).x
    weight = drawn(2, 2, 3, 3, dtype=torch.float64)
    out = subm_conv2d(x, weight).features.square().sum()
    (grad,) = torch.autograd.grad(out, weight, create_graph=True)
    with pytest.raises(
        RuntimeError, match=r"subm_conv2d: second-order gradients are not supported"
    ):
        grad.sum().backward()


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(backend: str, dtype: torch.dtype, with_bias: bool) -> None:
    x = make_case(2, 3, 4, 5, dtype=dtype, padding=2).x
    features = x.features.nan_to_num(0).requires_grad_()
    weight = drawn(4, 3, 3, 3, dtype=dtype)
    bias = drawn(4, dtype=dtype) if with_bias else None
    maps = (features, x.sites, x.offsets, 4, 5)
    torch.library.opcheck(torch.ops.mesm_ops.subm_conv2d.default, (*maps, weight, bias))

    grad = torch.randn(features.shape[0], 4, dtype=dtype)
    maps = (features.detach(), *maps[1:])
    op = torch.ops.mesm_ops.subm_conv2d_backward.default
    for needs in [(True, True, with_bias), (False, True, False), (True, False, False)]:
        torch.library.opcheck(op, (grad, *maps, weight.detach(), *needs))


F32 = torch.float32


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        (
            torch.zeros(5, 3, 3, 3),
            None,
            "weight must be (Cout, 4, 3, 3) for 4 input channels, got (5, 3, 3, 3)",
        ),
        (
            torch.zeros(5, 4, 5, 5),
            None,
            "weight must be (Cout, 4, 3, 3) for 4 input channels, got (5, 4, 5, 5)",
        ),
        (
            torch.zeros(5, 4, 3, 3).double(),
            None,
            "weight must be torch.float32 as x's features, got torch.float64",
        ),
        (
            torch.zeros(5, 4, 3, 3, device="meta"),
            None,
            "weight must be on cpu as x, got meta",
        ),
        (
            torch.zeros(5, 4, 3, 3),
            torch.zeros(4),
            "bias must be (5,) for 5 output channels, got (4,)",
        ),
        (
            torch.zeros(5, 4, 3, 3),
            torch.zeros(5).half(),
            "bias must be torch.float32 as x's features, got torch.float16",
        ),
        (None, None, "weight must be a tensor, got NoneType"),
    ],
)
def test_refuses(weight: torch.Tensor, bias: torch.Tensor | None, message: str) -> None:
    x = make_case(1, 4, 3, 3, dtype=F32).x
    with pytest.raises(ValueError) as error:
        subm_conv2d(x, weight, bias)
    assert str(error.value) == f"subm_conv2d: {message}"


def test_refuses_what_is_not_sparse() -> None:
    with pytest.raises(ValueError, match=r"subm_conv2d: x must be SparseFeatureMaps, got Tensor"):
        subm_conv2d(torch.zeros(1, 4, 3, 3), torch.zeros(5, 4, 3, 3))
