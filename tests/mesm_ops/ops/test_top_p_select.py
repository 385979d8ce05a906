from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mesm_ops import SparseFeatureMaps, reference, top_p_mask, top_p_select
from mesm_ops.reference import Selection, TopPSelect, TopPSelectBackward
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
    weighted = selection == "weighted"
    selected, kept = oracle.select(maps, case.mask, dense, p, weighted)
    got = top_p_select(x, logits, p, selection)

    assert torch.equal(got.mask(), kept)
    assert got.features.shape[0] == int(kept.sum())  # on a CPU, trimmed
    wanted = rows_of(selected, kept)
    assert_close(got.features, wanted, "out", loosen=2)  # the softmax's rounding comes on top
    if not weighted:
        assert torch.equal(got.features.double(), wanted)

    grad = torch.randn(got.features.shape).to(case.x.dtype)
    got.features.backward(grad)
    if wanted.requires_grad:
        wanted.backward(grad.double())
        assert_rows(features.grad, rows_of(maps.grad, case.mask), "grad of features", loosen=2)
        if weighted:
            assert_rows(logits.grad, dense.grad[case.mask], "grad of logits", loosen=4)
    assert weighted or logits.grad is None


@given(data=st.data(), p=st.sampled_from(SHARES), selection=st.sampled_from(["weighted", "hard"]))
@settings(max_examples=100)
def test_equals_the_oracle(backend: str, data: st.DataObject, p: float, selection: str) -> None:
    check(data.draw(cases(dtypes_of(backend))), p, selection)


@pytest.mark.parametrize("selection", ["weighted", "hard"])
def test_equals_the_oracle_on_large_frames(backend: str, selection: str) -> None:
    check(make_case(3, 48, 24, 24, 0.9, torch.float32, padding=9), 0.5, selection)


@pytest.mark.parametrize("weighted", [True, False])
def test_static_sizes_hold_the_same_and_zeros(backend: str, weighted: bool) -> None:
    case = make_case(3, 4, 5, 5, 0.6, torch.float32, padding=3)
    _, logits = draw_logits(case)
    x = case.x
    op = torch.ops.mesm_ops.top_p_select
    short = op(x.features, x.sites, x.offsets, logits.detach(), 0.4, weighted, True)
    full = op(x.features, x.sites, x.offsets, logits.detach(), 0.4, weighted, False)
    kept = short[0].shape[0]
    assert 0 < kept < case.rows
    for a, b, fill in zip(short, full, (0, 0, None, -1, None), strict=True):
        assert torch.equal(a, b if fill is None else b[:kept])
        assert fill is None or (b.shape[0] == x.features.shape[0] and (b[kept:] == fill).all())

    grad = torch.randn(kept, 4)
    attention = full[4]
    back = torch.ops.mesm_ops.top_p_select_backward
    a = back(grad, x.features, x.offsets, short[2], short[3], attention, weighted)
    padded = padded_gradient(grad, x.features.shape[0])
    b = back(padded, x.features, x.offsets, full[2], full[3], attention, weighted)
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


@pytest.mark.parametrize("selection", ["weighted", "hard"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("trim", [True, False])
def test_opcheck(backend: str, selection: str, dtype: torch.dtype, trim: bool) -> None:
    case = make_case(3, 4, 4, 4, 0.7, dtype, padding=2)
    _, logits = draw_logits(case)
    x, weighted = case.x, selection == "weighted"
    features = x.features.nan_to_num(0).requires_grad_()
    logits = logits.detach().nan_to_num(0).requires_grad_()
    args = (features, x.sites, x.offsets, logits, 0.5, weighted, trim)
    torch.library.opcheck(torch.ops.mesm_ops.top_p_select.default, args)
    with torch.no_grad():
        out, _, out_offsets, rows, attention = torch.ops.mesm_ops.top_p_select(*args)
    args = (torch.randn_like(out), features.detach(), x.offsets, out_offsets, rows, attention)
    torch.library.opcheck(torch.ops.mesm_ops.top_p_select_backward.default, (*args, weighted))


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
        ({"selection": "soft"}, "selection must be 'weighted' or 'hard', got 'soft'"),
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


def test_the_reference_goes_by_both_switches_of_a_selection() -> None:
    """A selection that learns without scaling: features as in hard selection, logits learn."""
    case = make_case(2, 3, 5, 4, dtype=torch.float64)
    logits = torch.randn(case.rows, dtype=torch.float64)
    place = (case.x.features, case.x.sites, case.x.offsets)
    grad = torch.randn(case.x.features.shape, dtype=torch.float64)
    learns: Any = SimpleNamespace(scales=False, learns=True)
    found = {}
    every = {"hard": Selection.HARD, "weighted": Selection.WEIGHTED, "": learns}
    for name, selection in every.items():
        out = reference.top_p_select(TopPSelect(*place, logits, 0.6, selection, trim=True))
        saved = (out.offsets, out.rows, out.attention, selection)
        maps = (case.x.features, case.x.offsets)
        grads = reference.top_p_select_backward(
            TopPSelectBackward(grad[: len(out.rows)], *maps, *saved)
        )
        found[name] = (out.features, grads)
    assert torch.equal(found[""][0], found["hard"][0])
    assert torch.equal(found[""][1].features, found["hard"][1].features)
    assert torch.equal(found[""][1].logits, found["weighted"][1].logits)
    assert found[""][1].logits.any()
