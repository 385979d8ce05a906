from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mesm_ops import sparse_batch_norm
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


def parameters(channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return running mean and variance, weight and bias."""
    return (
        drawn(channels, dtype=dtype, grad=False),
        torch.rand(channels, dtype=torch.float64).add(0.5).to(dtype),
        drawn(channels, dtype=dtype),
        drawn(channels, dtype=dtype),
    )


def check(case: Case, training: bool, relu: bool, wide_parameters: bool) -> None:
    dtype, eps, momentum = case.x.dtype, 1e-3, 0.3
    wide = torch.promote_types(dtype, torch.float32)
    mean, var, weight, bias = parameters(case.x.channels, wide if wide_parameters else dtype)
    features, maps = case.x.features.requires_grad_(), case.maps.requires_grad_()
    w, b = exact(weight), exact(bias)
    before = (mean.clone(), var.clone())

    out, batch_mean, batch_var = oracle.batch_norm(
        maps, case.mask, w, b, exact(mean), exact(var), training, eps, relu
    )
    wanted = rows_of(out, case.mask)
    x = case.x.with_features(features)
    got = sparse_batch_norm(x, mean, var, weight, bias, training, momentum, eps, relu)
    assert got.dtype == dtype
    # Few rows may lie close together: dividing by their spread of down to sqrt(eps) = 0.03
    # magnifies the rounding of their mean.
    assert_rows(got.features, wanted, "out", loosen=4)

    grad = torch.randn(wanted.shape).to(dtype)
    # Within rounding of the ReLU's corner either side is right.
    grad[wanted.abs() < 1e-4] = 0
    wanted.backward(grad.double())
    got.features.backward(padded_gradient(grad, features.shape[0]))
    assert_rows(features.grad, rows_of(maps.grad, case.mask), "grad of features", loosen=30)
    assert_close(weight.grad, w.grad, "grad of weight", loosen=4)
    assert_close(bias.grad, b.grad, "grad of bias", loosen=4)

    if not training or not case.rows:
        assert torch.equal(mean, before[0])
        assert torch.equal(var, before[1])
        return
    unbiased = batch_var * case.rows / max(case.rows - 1, 1)
    assert_close(mean, before[0].double().lerp(batch_mean, momentum), "running mean", loosen=2)
    assert_close(var, before[1].double().lerp(unbiased, momentum), "running var", loosen=2)


@given(data=st.data(), training=st.booleans(), relu=st.booleans(), wide_parameters=st.booleans())
@settings(max_examples=100)
def test_equals_the_oracle(
    backend: str, data: st.DataObject, training: bool, relu: bool, wide_parameters: bool
) -> None:
    check(data.draw(cases(dtypes_of(backend))), training, relu, wide_parameters)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_the_oracle_over_many_rows(backend: str, dtype: torch.dtype) -> None:
    check(make_case(6, 48, 16, 16, dtype=dtype, padding=5), True, True, True)


def test_a_large_mean_costs_no_precision(backend: str) -> None:
    case = make_case(4, 8, 9, 9, 1.0, torch.float32)
    x = case.x.with_features(case.x.features + 1000)
    ones, zeros = torch.ones(8), torch.zeros(8)
    got = sparse_batch_norm(x, zeros.clone(), ones.clone(), ones, zeros, training=True)
    rows = x.features.double()
    wanted = (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-5).sqrt()
    # 1000 has 2^-14 between neighbours; two passes over the rows lose no more than that.
    torch.testing.assert_close(got.features.double(), wanted, rtol=0, atol=2**-12)


def test_one_row_has_variance_zero(backend: str) -> None:
    x = make_case(1, 3, 1, 1, 1.0, torch.float32).x
    mean, var, weight, bias = (p.detach() for p in parameters(3, torch.float32))
    got = sparse_batch_norm(x, mean, var, weight, bias, training=True, momentum=1.0)
    torch.testing.assert_close(got.features[0], bias)
    torch.testing.assert_close(mean, x.features[0])
    assert not var.any()


def test_nan_passes_the_relu(backend: str) -> None:
    case = make_case(1, 2, 2, 2, 1.0, torch.float32)
    features = case.x.features.clone()
    features[0, 0] = torch.nan
    args = [p.detach() for p in parameters(2, torch.float32)]
    got = sparse_batch_norm(case.x.with_features(features), *args, relu=True)
    assert got.features.isnan().nonzero().tolist() == [[0, 0]]


def test_momentum_may_be_a_tensor(backend: str) -> None:
    case = make_case(2, 3, 4, 4, 1.0, torch.float32)
    one, other = ([p.detach().clone() for p in parameters(3, torch.float32)] for _ in range(2))
    for a, b in zip(one, other, strict=True):
        b.copy_(a)
    sparse_batch_norm(case.x, *one, training=True, momentum=0.25)
    sparse_batch_norm(case.x, *other, training=True, momentum=torch.tensor(0.25))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_gradcheck(backend: str, training: bool, relu: bool) -> None:
    x = make_case(2, 3, 3, 4, padding=2).x
    features = x.features.nan_to_num(0).requires_grad_()
    mean, var, weight, bias = parameters(3, torch.float64)

    def run(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        maps, running = x.with_features(features), (mean.clone(), var.clone())
        return sparse_batch_norm(maps, *running, weight, bias, training, relu=relu).features

    assert torch.autograd.gradcheck(run, (features, weight, bias))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_opcheck(backend: str, dtype: torch.dtype, training: bool) -> None:
    x = make_case(2, 3, 4, 5, dtype=dtype, padding=2).x
    features = x.features.nan_to_num(0).requires_grad_()
    mean, var, weight, bias = parameters(3, torch.promote_types(dtype, torch.float32))
    args = (features, x.offsets, weight, bias, mean, var, training, 1e-5, True)
    op = torch.ops.mesm_ops.sparse_batch_norm.default
    torch.library.opcheck(op, args)
    plain = (features.detach(), x.offsets, weight.detach(), bias.detach())
    _, mean, var = op(*plain, mean, var, training, 1e-5, True)
    grad = torch.randn(features.shape).to(dtype)
    torch.library.opcheck(
        torch.ops.mesm_ops.sparse_batch_norm_backward.default,
        (grad, *plain, mean, var, training, 1e-5, True),
    )


def test_second_order_gradients_are_refused(backend: str) -> None:
    x = make_case(1, 2, 3, 3).x
    mean, var, weight, bias = parameters(2, torch.float64)
    out = sparse_batch_norm(x, mean, var, weight, bias).features.square().sum()
    (grad,) = torch.autograd.grad(out, weight, create_graph=True)
    with pytest.raises(RuntimeError, match=r"sparse_batch_norm: second-order gradients are not"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("dtype", "changes", "message"),
    [
        (
            torch.float32,
            {"weight": torch.zeros(3)},
            "weight must be (4,) for 4 channels, got (3,)",
        ),
        (
            torch.float32,
            {"running_var": torch.zeros(4).bfloat16()},
            "running_var must be torch.float32 for torch.float32 features, got torch.bfloat16",
        ),
        (
            torch.bfloat16,
            {"bias": torch.zeros(4).double()},
            "bias must be torch.bfloat16 or torch.float32 for torch.bfloat16 features, got "
            "torch.float64",
        ),
        (
            torch.float32,
            {"running_mean": torch.zeros(4, device="meta")},
            "running_mean must be on cpu as x, got meta",
        ),
    ],
)
def test_refuses(dtype: torch.dtype, changes: dict[str, Any], message: str) -> None:
    x = make_case(1, 4, 3, 3, dtype=dtype).x
    names = ("running_mean", "running_var", "weight", "bias")
    args = {name: torch.ones(4) for name in names} | changes
    with pytest.raises(ValueError) as error:
        sparse_batch_norm(x, **args)
    assert str(error.value) == f"sparse_batch_norm: {message}"
