from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mesm_ops import SparseFeatureMaps, top_p_mask, top_p_select
from mesm_ops.ops.checks import check_selection
from mesm_ops.reference import Selection
from tests import oracle
from tests.mesm_ops.cases import (
    Case,
    assert_close,
    assert_rows,
    cases,
    dtypes_of,
    make_case,
    padded_gradient,
    rows_of,
)

SHARES = [1e-9, 0.1, 0.3, 0.5, 0.9, 1.0]


def draw_logits(case: Case) -> tuple[Tensor, Tensor]:
    """Return logits for all sites, (F, H, W) float64, and for the rows.

    Multiples of 1/4: many ties, and no mass within rounding of a p.
    """
    dense = (torch.randn(case.mask.shape, dtype=torch.float64) * 8).round() / 4
    dtype = torch.promote_types(case.x.dtype, torch.float32)
    rows = padded_gradient(dense[case.mask].to(dtype), case.x.features.shape[0])
    return dense.requires_grad_(), rows.requires_grad_()


def check(case: Case, p: float, selection: str) -> None:
    dense, logits = draw_logits(case)
    features, maps = case.x.features.requires_grad_(), case.maps.requires_grad_()
    x = case.x.with_features(features)
    learns = selection != "hard"
    selected, kept = oracle.select(maps, case.mask, dense, p, selection)
    got = top_p_select(x, logits, p, selection)

    assert torch.equal(got.mask(), kept)
    assert got.features.shape[0] == int(kept.sum())  # on a CPU, trimmed
    wanted = rows_of(selected, kept)
    assert_close(got.features, wanted, "out", loosen=2)  # the softmax's rounding comes on top
    if selection != "weighted":
        assert torch.equal(got.features.double(), wanted)

    grad = torch.randn(got.features.shape).to(case.x.dtype)
    got.features.backward(grad)
    if wanted.requires_grad:
        wanted.backward(grad.double())
        assert_rows(features.grad, rows_of(maps.grad, case.mask), "grad of features", loosen=2)
        if learns:
            assert_rows(logits.grad, dense.grad[case.mask], "grad of logits", loosen=4)
    assert learns or logits.grad is None


SELECTIONS = ["weighted", "hard", "straight_through"]


@given(data=st.data(), p=st.sampled_from(SHARES), selection=st.sampled_from(SELECTIONS))
@settings(max_examples=100)
def test_equals_the_oracle(backend: str, data: st.DataObject, p: float, selection: str) -> None:
    check(data.draw(cases(dtypes_of(backend))), p, selection)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_equals_the_oracle_on_large_frames(backend: str, selection: str) -> None:
    check(make_case(3, 48, 24, 24, 0.9, torch.float32, padding=9), 0.5, selection)


@pytest.mark.parametrize("selection", list(Selection))
def test_static_sizes_hold_the_same_and_zeros(backend: str, selection: Selection) -> None:
    case = make_case(3, 4, 5, 5, 0.6, torch.float32, padding=3)
    _, logits = draw_logits(case)
    x = case.x
    op = torch.ops.mesm_ops.top_p_select
    short = op(x.features, x.sites, x.offsets, logits.detach(), 0.4, selection, True)
    full = op(x.features, x.sites, x.offsets, logits.detach(), 0.4, selection, False)
    kept = short[0].shape[0]
    assert 0 < kept < case.rows
    for a, b, fill in zip(short, full, (0, 0, None, -1, None), strict=True):
        assert torch.equal(a, b if fill is None else b[:kept])
        assert fill is None or (b.shape[0] == x.features.shape[0] and (b[kept:] == fill).all())

    grad = torch.randn(kept, 4)
    attention = full[4]
    back = torch.ops.mesm_ops.top_p_select_backward
    a = back(grad, x.features, x.offsets, short[2], short[3], attention, selection)
    padded = padded_gradient(grad, x.features.shape[0])
    b = back(padded, x.features, x.offsets, full[2], full[3], attention, selection)
    for one, other in zip(a, b, strict=True):
        assert torch.equal(one, other)
        assert not one[case.rows :].any()


def one_frame(logits: Tensor) -> tuple[SparseFeatureMaps, Tensor]:
    x = SparseFeatureMaps.from_dense(torch.ones(1, 1, 1, len(logits), dtype=logits.dtype))
    return x, logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_equal_scores_the_lower_site_is_kept(backend: str, dtype: torch.dtype) -> None:
    x, logits = one_frame(torch.tensor([0, 1, 1, 0, 1, 1, 0, 0], dtype=dtype))
    # exp(1) / (4 exp(1) + 4) = 0.183 each: 0, 0.183, 0.366 are < 0.5, 0.548 is not.
    assert top_p_select(x, logits, 0.5).sites.tolist() == [1, 2, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mass_strictly_before_a_site_decides(backend: str, dtype: torch.dtype) -> None:
    x, logits = one_frame(torch.zeros(8, dtype=dtype))  # 1/8 each, exactly
    for p, kept in [(0.125, 1), (0.126, 2), (0.5, 4), (0.75, 6), (0.9, 8), (1.0, 8)]:
        assert top_p_select(x, logits, p).sites.tolist() == list(range(kept))


def test_one_site_is_always_kept_and_p_1_keeps_all(backend: str) -> None:
    x, logits = one_frame(torch.tensor([100.0, -100.0, 3.0, -torch.inf]))
    assert top_p_select(x, logits, 1e-300).sites.tolist() == [0]
    assert top_p_select(x, logits, 1.0).sites.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_nan_keeps_its_whole_frame_and_only_that(backend: str, bad: float) -> None:
    x = SparseFeatureMaps.from_dense(torch.randn(2, 3, 2, 3).requires_grad_())
    logits = torch.arange(12.0)
    logits[3] = bad
    got = top_p_select(x, logits.requires_grad_(), 0.3)
    assert got.offsets.tolist() == [0, 6, 7]
    assert got.features[:6].isnan().all()  # the attention is NaN, so the loss will be
    assert not got.features[6:].isnan().any()
    got.features.sum().backward()
    assert logits.grad[:6].isnan().all()
    assert not logits.grad[6:].isnan().any()


def test_weight_is_one_under_uniform_attention(backend: str) -> None:
    case = make_case(3, 4, 5, 5, 0.5, torch.float32)
    got = top_p_select(case.x, torch.zeros(case.rows), 1.0, "weighted")
    torch.testing.assert_close(got.features, case.x.features, rtol=1e-6, atol=0)


@given(
    frames=st.integers(0, 3),
    length=st.integers(0, 40),
    p=st.sampled_from(SHARES),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
@settings(max_examples=30)
def test_mask_equals_the_oracle(
    backend: str, frames: int, length: int, p: float, dtype: torch.dtype
) -> None:
    logits = ((torch.randn(frames, length) * 8).round() / 4).to(dtype)
    got = top_p_mask(logits, p)
    kept = [oracle.nucleus(row.softmax(0).tolist(), p) for row in logits.double()]
    assert got.tolist() == kept
    assert got.shape == (frames, length)
    assert got.dtype == torch.bool


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("trim", [True, False])
def test_opcheck(backend: str, selection: str, dtype: torch.dtype, trim: bool) -> None:
    case = make_case(3, 4, 4, 4, 0.7, dtype, padding=2)
    _, logits = draw_logits(case)
    x, number = case.x, int(check_selection("top_p_select", selection))
    features = x.features.nan_to_num(0).requires_grad_()
    logits = logits.detach().nan_to_num(0).requires_grad_()
    args = (features, x.sites, x.offsets, logits, 0.5, number, trim)
    torch.library.opcheck(torch.ops.mesm_ops.top_p_select.default, args)
    with torch.no_grad():
        out, _, out_offsets, rows, attention = torch.ops.mesm_ops.top_p_select(*args)
    args = (torch.randn_like(out), features.detach(), x.offsets, out_offsets, rows, attention)
    torch.library.opcheck(torch.ops.mesm_ops.top_p_select_backward.default, (*args, number))


@pytest.mark.parametrize("selection", ["weighted", "hard"])
def test_gradcheck(backend: str, selection: str) -> None:
    case = make_case(3, 3, 3, 4, 0.8, padding=2)
    x = case.x
    features = x.features.nan_to_num(0).requires_grad_()
    logits = torch.randn(features.shape[0], dtype=torch.float64).requires_grad_()

    def run(features: Tensor, logits: Tensor) -> Tensor:
        return top_p_select(x.with_features(features), logits, 0.6, selection).features

    if selection == "weighted":
        assert torch.autograd.gradcheck(run, (features, logits))
    else:
        assert torch.autograd.gradcheck(run, (features, logits.detach()))


@pytest.mark.parametrize("p", [0.3, 0.6, 1.0])
def test_the_straight_through_gradient_is_that_of_its_estimator(backend: str, p: float) -> None:
    case = make_case(3, 3, 3, 4, 0.8, padding=2)
    x = case.x
    features = x.features.nan_to_num(0).requires_grad_()
    logits = torch.randn(features.shape[0], dtype=torch.float64).requires_grad_()
    got = top_p_select(x.with_features(features), logits, p, "straight_through")
    hard = top_p_select(x.with_features(features), logits, p, "hard")
    assert torch.equal(got.features, hard.features)
    assert torch.equal(got.sites, hard.sites)
    numbers = torch.arange(1.0, len(features) + 1, dtype=torch.float64)[:, None]
    kept = top_p_select(x.with_features(numbers), logits, p, "hard").features[:, 0].long() - 1
    at = logits.detach().clone()

    def logarithms(logits: Tensor) -> Tensor:
        ends = x.offsets.tolist()
        return torch.cat([logits[a:b].log_softmax(0) for a, b in pairwise(ends)])

    def estimator(features: Tensor, logits: Tensor) -> Tensor:
        # Kept features times w / w, of which the divisor is a constant.
        return features[kept] * (logarithms(logits) - logarithms(at)).exp()[kept, None]

    assert torch.autograd.gradcheck(estimator, (features, logits))
    grad = torch.randn_like(got.features)
    wanted = torch.autograd.grad(estimator(features, logits), (features, logits), grad)
    found = torch.autograd.grad(got.features, (features, logits), grad)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


def test_under_uniform_attention_straight_through_learns_what_a_site_adds(backend: str) -> None:
    # Four sites of attention 1/4, all kept; <gradient, feature> is 1, 2, 3 and 6.
    x = SparseFeatureMaps.from_dense(torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 2, 2))
    logits = torch.zeros(4, requires_grad=True)
    top_p_select(x, logits, 1.0, "straight_through").features.sum().backward()
    assert logits.grad.tolist() == [-2, -1, 0, 3]  # less a share of 12


def test_autocast_changes_nothing(backend: str) -> None:
    case = make_case(2, 4, 5, 5, 0.8, torch.float32)
    _, logits = draw_logits(case)
    with torch.autocast("cpu", torch.bfloat16):
        got = top_p_select(case.x, logits, 0.5)
    assert torch.equal(got.features, top_p_select(case.x, logits, 0.5).features)


def test_second_order_gradients_are_refused(backend: str) -> None:
    x, logits = one_frame(torch.arange(4.0).requires_grad_())
    out = top_p_select(x, logits, 0.5).features.square().sum()
    (grad,) = torch.autograd.grad(out, logits, create_graph=True)
    with pytest.raises(RuntimeError, match=r"top_p_select: second-order gradients are not support"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p": 0.0}, "p must be in (0, 1], got 0.0"),
        ({"p": -0.5}, "p must be in (0, 1], got -0.5"),
        ({"p": 1.01}, "p must be in (0, 1], got 1.01"),
        ({"p": float("nan")}, "p must be in (0, 1], got nan"),
        (
            {"selection": "soft"},
            "selection must be 'weighted', 'hard' or 'straight_through', got 'soft'",
        ),
        ({"logits": torch.zeros(5)}, "logits must be (9,) for 9 rows of features, got (5,)"),
        ({"logits": torch.zeros(9, 1)}, "logits must be (9,) for 9 rows of features, got (9, 1)"),
        (
            {"logits": torch.zeros(9).bfloat16()},
            "logits must be torch.float32 for torch.float32 features, got torch.bfloat16",
        ),
        ({"logits": torch.zeros(9, device="meta")}, "logits must be on cpu as x, got meta"),
    ],
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    x = make_case(1, 4, 3, 3, 1.0, torch.float32).x
    args = {"x": x, "logits": torch.zeros(9), "p": 0.5, "selection": "hard"} | changes
    with pytest.raises(ValueError) as error:
        top_p_select(**args)
    assert str(error.value) == f"top_p_select: {message}"


@pytest.mark.parametrize(
    ("logits", "p", "message"),
    [
        (
            torch.zeros(3),
            0.5,
            "logits must be (F, L) of float32, bfloat16, float16 or float64, "
            "got (3,) torch.float32",
        ),
        (
            torch.zeros(3, 2, dtype=torch.int64),
            0.5,
            "logits must be (F, L) of float32, bfloat16, float16 or float64, "
            "got (3, 2) torch.int64",
        ),
        (torch.zeros(3, 2), 1.5, "p must be in (0, 1], got 1.5"),
    ],
)
def test_mask_refuses(logits: Tensor, p: float, message: str) -> None:
    with pytest.raises(ValueError) as error:
        top_p_mask(logits, p)
    assert str(error.value) == f"top_p_mask: {message}"
