from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mesm_ops import SparseFeatureMaps, sparse_max_pool2d
from tests import oracle
from tests.mesm_ops.cases import (
    Case,
    assert_rows,
    cases,
    dtypes_of,
    make_case,
    padded_gradient,
    rows_of,
)


def check(case: Case) -> None:
    features, maps = case.x.features.requires_grad_(), case.maps.requires_grad_()
    pooled, active = oracle.max_pool(maps, case.mask)
    wanted = rows_of(pooled, active)
    got = sparse_max_pool2d(case.x.with_features(features))
    assert (got.height, got.width) == (case.x.height // 2, case.x.width // 2)
    assert torch.equal(got.mask(), active)
    assert torch.equal(got.features.double(), wanted)  # a maximum is not rounded

    grad = torch.randn(wanted.shape).to(case.x.dtype)
    got.features.backward(grad)
    if wanted.requires_grad:
        wanted.backward(grad.double())
        assert_rows(features.grad, rows_of(maps.grad, case.mask), "grad of features")


@given(data=st.data())
@settings(max_examples=80)
def test_equals_the_oracle(backend: str, data: st.DataObject) -> None:
    check(data.draw(cases(dtypes_of(backend), least=2)))


def test_equals_the_oracle_on_large_frames(backend: str) -> None:
    check(make_case(3, 48, 23, 24, 0.4, torch.float32, padding=9))


def test_static_sizes_hold_the_same_and_zeros(backend: str) -> None:
    case = make_case(3, 4, 5, 6, 0.4, torch.float32, padding=3)
    x = case.x
    op = torch.ops.mesm_ops.sparse_max_pool2d
    short = op(x.features, x.sites, x.offsets, 5, 6, True)
    full = op(x.features, x.sites, x.offsets, 5, 6, False)
    rows = short[0].shape[0]
    assert full[0].shape[0] == min(x.features.shape[0], 3 * 2 * 3) > rows
    for a, b, fill in zip(short, full, (0, 0, None, -1), strict=True):
        assert torch.equal(a, b if fill is None else b[:rows])
        assert fill is None or (b[rows:] == fill).all()

    grad = torch.randn(rows, 4)
    back = torch.ops.mesm_ops.sparse_max_pool2d_backward
    one = back(grad, short[3], x.features.shape[0])
    other = back(padded_gradient(grad, full[0].shape[0]), full[3], x.features.shape[0])
    assert torch.equal(one, other)
    assert not one[case.rows :].any()


def test_nan_wins_and_the_first_of_equals_gets_the_gradient(backend: str) -> None:
    maps = torch.tensor([[[[1.0, torch.nan], [torch.nan, 9.0]]], [[[3.0, 3.0], [3.0, 1.0]]]])
    x = SparseFeatureMaps.from_dense(maps)
    x = x.with_features(x.features.clone().requires_grad_())
    got = sparse_max_pool2d(x)
    assert got.features[0].isnan().all()
    assert got.features[1].item() == 3.0
    got.features.backward(torch.tensor([[5.0], [7.0]]))
    assert x.features.grad.flatten().tolist() == [0, 5, 0, 0, 7, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("channels", [1, 15, 16, 48, 70])
def test_nan_and_equals_in_every_lane(backend: str, channels: int, dtype: torch.dtype) -> None:
    case = make_case(4, channels, 9, 7, 0.6, dtype, padding=3)
    x, values = case.x, torch.tensor([torch.nan, -torch.inf, -0.0, 0.0, 1.0], dtype=dtype)
    rows = x.features.shape[0]
    features = values[torch.randint(0, 5, (rows, channels))]
    op = torch.ops.mesm_ops.sparse_max_pool2d
    best, sites, offsets, argmax = op(features, x.sites, x.offsets, 9, 7, True)

    frame = torch.repeat_interleave(torch.arange(4), offsets.diff())
    own = torch.repeat_interleave(torch.arange(4), x.offsets.diff())
    for i in range(len(sites)):
        at = x.sites[: case.rows]
        window = (at // 7 // 2 * 3 + at % 7 // 2 == sites[i]) & (at % 7 < 6) & (own == frame[i])
        inside = window.nonzero().flatten().tolist()
        for c in range(channels):
            winner = inside[0]
            for row in inside[1:]:
                value, held = features[row, c], features[winner, c]
                if value > held or (value.isnan() and not held.isnan()):
                    winner = row
            assert argmax[i, c] == winner
    torch.testing.assert_close(best, features.gather(0, argmax.long()), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("channels", [1, 16, 70])
def test_any_rows_get_their_gradients(backend: str, channels: int, dtype: torch.dtype) -> None:
    # More rows than a window has, some named by their last columns alone, and none.
    argmax = torch.randperm(24, dtype=torch.int32)[:, None].repeat(1, channels).view(2, 12, -1)
    argmax = torch.where(torch.rand(12, channels) < 0.4, argmax[0], argmax[1])
    argmax[3] = -1
    argmax[4, channels // 2 :] = -1
    grad = torch.randn(12, channels).to(dtype)
    got = torch.ops.mesm_ops.sparse_max_pool2d_backward(grad, argmax, 30)
    wanted = torch.zeros(30, channels, dtype=dtype)
    for i, c in (argmax >= 0).nonzero().tolist():
        wanted[argmax[i, c], c] = grad[i, c]
    assert torch.equal(got, wanted)


def test_minus_infinity_can_be_a_maximum(backend: str) -> None:
    mask = torch.tensor([[[False, True], [True, False]]])
    x = SparseFeatureMaps.from_dense(torch.full((1, 1, 2, 2), -torch.inf), mask)
    x = x.with_features(x.features.clone().requires_grad_())
    got = sparse_max_pool2d(x)
    assert got.features.tolist() == [[-torch.inf]]
    got.features.sum().backward()
    assert x.features.grad.flatten().tolist() == [1, 0]


def test_gradcheck(backend: str) -> None:
    x = make_case(2, 3, 5, 4, padding=2).x
    features = x.features.nan_to_num(0).requires_grad_()

    def run(features: torch.Tensor) -> torch.Tensor:
        return sparse_max_pool2d(x.with_features(features)).features

    assert torch.autograd.gradcheck(run, (features,))


@pytest.mark.parametrize("trim", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(backend: str, dtype: torch.dtype, trim: bool) -> None:
    x = make_case(2, 3, 4, 5, dtype=dtype, padding=2).x
    features = x.features.nan_to_num(0).requires_grad_()
    args = (features, x.sites, x.offsets, 4, 5, trim)
    torch.library.opcheck(torch.ops.mesm_ops.sparse_max_pool2d.default, args)
    with torch.no_grad():
        out, _, _, argmax = torch.ops.mesm_ops.sparse_max_pool2d(*args)
    args = (torch.randn_like(out), argmax, features.shape[0])
    torch.library.opcheck(torch.ops.mesm_ops.sparse_max_pool2d_backward.default, args)


def test_second_order_gradients_are_refused(backend: str) -> None:
    x = SparseFeatureMaps.from_dense(torch.randn(1, 2, 4, 4).requires_grad_())
    out = sparse_max_pool2d(x).features.square().sum()
    (grad,) = torch.autograd.grad(out, x.features, create_graph=True)
    with pytest.raises(RuntimeError, match=r"sparse_max_pool2d: second-order gradients are not"):
        grad.sum().backward()


@pytest.mark.parametrize(("height", "width"), [(1, 4), (4, 1)])
def test_refuses_maps_smaller_than_a_window(height: int, width: int) -> None:
    x = SparseFeatureMaps.from_dense(torch.zeros(1, 1, height, width))
    with pytest.raises(ValueError) as error:
        sparse_max_pool2d(x)
    assert str(error.value) == (
        f"sparse_max_pool2d: maps must be at least 2 x 2, got {height} x {width}"
    )
