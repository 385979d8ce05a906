from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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


@pytest.fixture
def tf32() -> Iterator[None]:
    """Let float32 products be TF32, which the interpreter makes exactly all the same."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    yield
    torch.backends.cuda.matmul.fp32_precision = before


def on_device(tensor: Tensor) -> Tensor:
    """Move a tensor; a column-major one stays so."""
    return tensor.detach().to(DEVICE).requires_grad_(tensor.requires_grad)


def maps_on_device(case: Case, features: Tensor) -> SparseFeatureMaps:
    x = case.x
    return SparseFeatureMaps(features, x.sites.to(DEVICE), x.offsets.to(DEVICE), x.height, x.width)


def table_of(case: Case) -> Tensor:
    from mesm_ops.triton.neighbours import neighbour_table

    x = case.x
    return neighbour_table(x.sites.to(DEVICE), x.offsets.to(DEVICE), x.height, x.width)


def rules_of(case: Case) -> Any:
    from mesm_ops.triton import rulebook

    x = case.x
    return rulebook.rules_of(x.sites.to(DEVICE), x.offsets.to(DEVICE), x.height, x.width)


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


@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_the_oracle_in_the_rulebooks_order(
    with_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mesm_ops.triton import subm_conv2d as kernels

    monkeypatch.setattr(kernels, "_ORDER_PAYS", 0)
    monkeypatch.setattr(kernels, "neighbour_table", lambda *_: pytest.fail("rows as they stand"))
    check(make_case(6, 20, 9, 7, 0.6, torch.float32, padding=9), cout=18, with_bias=with_bias)


def test_the_order_of_rows_changes_no_result() -> None:
    """Of whole numbers, whose sums are exact: the interpreter's products round by place."""
    from mesm_ops.triton.subm_conv2d import convolve

    case = make_case(9, 20, 9, 7, 0.4, torch.float32, padding=40)
    rules, features = rules_of(case), case.x.features.mul(8).round().to(DEVICE)
    weight = torch.randint(-9, 10, (18, 20, 3, 3)).float().to(DEVICE)
    plain, _ = convolve(features, table_of(case), weight)
    ordered, _ = convolve(features, rules.table, weight, order=rules.order)
    assert torch.equal(plain, ordered)


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


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("chosen", range(4))
def test_all_configurations_give_the_same(
    chosen: int, transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mesm_ops.triton import subm_conv2d as kernels

    configs = kernels.configurations(torch.bfloat16, 72, 136)
    assert len(configs) == 4
    case = make_case(1, 72, 12, 13, 0.9, torch.bfloat16, padding=3)
    weight = drawn(*((72, 136) if transposed else (136, 72)), 3, 3, dtype=torch.bfloat16)
    monkeypatch.setattr(kernels._tuned, "configs", [configs[chosen]])
    features = case.x.features.to(DEVICE)
    out, _ = kernels.convolve(
        features, table_of(case), on_device(weight).detach(), transposed=transposed
    )
    dense = exact(weight).detach()
    if transposed:
        dense = dense.flip(2, 3).transpose(0, 1)
    wanted = oracle.conv(case.maps, case.mask, dense)
    assert_rows(out.cpu(), rows_of(wanted, case.mask), "out")


def fused_case(dtype: torch.dtype, channels: int, **changes: Any) -> tuple[Case, Tensor, Tensor]:
    """Draw maps, a scale, and a shift that a missing neighbour would show."""
    args: dict[str, Any] = {"frames": 3, "height": 9, "width": 7, "density": 0.6, "padding": 20}
    case = make_case(channels=channels, dtype=dtype, **(args | changes))
    return case, torch.randn(channels), torch.randn(channels).abs() + 0.5


def normed(case: Case, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.relu(case.x.features.float() * scale + shift).to(case.x.dtype)


def check_prologue(case: Case, scale: Tensor, shift: Tensor, cout: int) -> None:
    from mesm_ops.triton.subm_conv2d import convolve, weight_gradient

    # Fused or not, the product may be rounded once less: a unit in the last place of what is
    # convolved, hence the float32 tolerance loosened and that of the halves in sum.
    dtype, loosen = case.x.dtype, 4.0
    rows = case.rows
    table, features = table_of(case), case.x.features.to(DEVICE)
    weight = drawn(cout, case.x.channels, 3, 3, dtype=dtype, grad=False).to(DEVICE)
    z = normed(case, scale, shift).to(DEVICE)
    fused = {"scale": scale.to(DEVICE), "shift": shift.to(DEVICE)}
    wanted = convolve(z, table, weight)[0][:rows]
    got = convolve(features, table, weight, **fused)[0]
    assert_rows(got.cpu(), wanted.double().cpu(), "out", loosen)

    grad = torch.randn(features.shape[0], cout, device=DEVICE).to(dtype)
    wanted = weight_gradient(z, grad, rules_of(case))
    got = weight_gradient(features, grad, rules_of(case), **fused)
    assert_close(got.cpu(), wanted.double().cpu(), "grad of weight", loosen)


@pytest.mark.parametrize("channels", [5, 64, 70])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prologue_equals_norm_and_relu_before(dtype: torch.dtype, channels: int) -> None:
    check_prologue(*fused_case(dtype, channels), cout=20)


def test_prologue_of_float32_in_the_kernel(tf32: None) -> None:
    from mesm_ops.triton._tuning import precision

    assert precision(torch.float32) == "tf32"
    if DEVICE == "cpu":  # on a GPU TF32 rounds the operands, before or after the norm
        check_prologue(*fused_case(torch.float32, 70), cout=20)


def test_nan_passes_the_prologue() -> None:
    from mesm_ops.triton.subm_conv2d import convolve, weight_gradient

    case, scale, shift = fused_case(torch.bfloat16, 4, density=1.0, padding=0)
    features = case.x.features.clone()
    features[0, 0] = torch.nan
    fused = {"scale": scale.to(DEVICE), "shift": shift.to(DEVICE)}
    table, features = table_of(case), features.to(DEVICE)
    weight = torch.ones(3, 4, 3, 3, device=DEVICE)
    out = convolve(features, table, weight, **fused)[0]
    assert out.isnan().any(1).nonzero()[:, 0].tolist() == [0, 1, 7, 8]
    grads = weight_gradient(features, torch.ones_like(out), rules_of(case), **fused)
    assert grads[:, 0, 1, 1].isnan().all()
    assert not grads[:, 1:].isnan().any()


def mean_and_var(rows: Tensor) -> tuple[Tensor, Tensor]:
    rows = rows.double()
    if not len(rows):
        return rows.new_zeros(rows.shape[1]), rows.new_zeros(rows.shape[1])
    return rows.mean(0), rows.var(0, correction=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.0, 0.02, 0.6, 1.0])
def test_statistics_are_those_of_the_result(dtype: torch.dtype, density: float) -> None:
    from mesm_ops.triton._reductions import combine
    from mesm_ops.triton.subm_conv2d import convolve

    case, scale, shift = fused_case(dtype, 6, frames=5, density=density, padding=150)
    weight, bias = drawn(70, 6, 3, 3, dtype=dtype, grad=False), torch.randn(70).to(dtype) + 8
    fused = {"scale": scale.to(DEVICE), "shift": shift.to(DEVICE), "bias": bias.to(DEVICE)}
    table, features = table_of(case), case.x.features.to(DEVICE)
    out, partial = convolve(features, table, weight.to(DEVICE), statistics=True, **fused)
    plain, nothing = convolve(features, table, weight.to(DEVICE), **fused)
    assert nothing is None
    assert torch.equal(out, plain)
    assert not out[case.rows :].any()

    gamma, beta, eps = torch.randn(70), torch.randn(70), 1e-3
    mean, var, s, t = combine(
        partial, case.x.offsets.to(DEVICE), gamma.to(DEVICE), beta.to(DEVICE), eps
    )
    wanted_mean, wanted_var = mean_and_var(out[: case.rows].cpu())
    assert_close(mean.cpu(), wanted_mean, "mean")
    assert_close(var.cpu(), wanted_var, "var")
    factor = gamma / (wanted_var + eps).sqrt()
    # A channel of one row has variance zero, which sqrt(eps) = 0.03 magnifies.
    assert_close(s.cpu(), factor, "scale", loosen=30)
    assert_close(t.cpu(), beta - wanted_mean * factor, "shift", loosen=30)


def test_statistics_far_from_zero() -> None:
    from mesm_ops.triton._reductions import combine
    from mesm_ops.triton.subm_conv2d import convolve

    case = make_case(6, 3, 9, 7, 1.0, torch.float32)
    weight, bias = drawn(4, 3, 3, 3, dtype=torch.float32, grad=False), torch.full((4,), 1e4)
    features = case.x.features.to(DEVICE)
    out, partial = convolve(
        features, table_of(case), weight.to(DEVICE), bias=bias.to(DEVICE), statistics=True
    )
    mean, var, _, _ = combine(partial, case.x.offsets.to(DEVICE))
    wanted_mean, wanted_var = mean_and_var(out.cpu())
    # 1e4 has 2^-10 between neighbours; sums of squares would be off by 1e8 * 2^-24 = 6.
    torch.testing.assert_close(mean.cpu().double(), wanted_mean, rtol=0, atol=2**-10)
    torch.testing.assert_close(var.cpu().double(), wanted_var, rtol=1e-5, atol=2**-20)


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


def test_the_weight_is_cast_where_it_is_packed() -> None:
    from mesm_ops.triton.subm_conv2d import convolve

    case = make_case(2, 5, 6, 7, dtype=torch.bfloat16)
    weight = torch.randn(9, 5, 3, 3, device=DEVICE)
    table, features = table_of(case), case.x.features.to(DEVICE)
    wanted = convolve(features, table, weight.bfloat16())[0]
    assert torch.equal(convolve(features, table, weight)[0], wanted)


def test_precision_follows_torch(tf32: None) -> None:
    from mesm_ops.triton._tuning import precision

    assert precision(torch.float32) == "tf32"
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    assert precision(torch.float32) == "ieee"
    assert precision(torch.bfloat16) == "tf32"


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
