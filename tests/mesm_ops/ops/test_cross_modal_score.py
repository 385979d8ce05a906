from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mesm_ops import cross_modal_score
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

NAMES = ("map_weight", "map_bias", "query_weight", "score_weight", "score_bias")


def parameters(channels: int, query: int, k: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    return (
        drawn(k, channels, dtype=dtype, scale=channels**-0.5),
        drawn(k, dtype=dtype),
        drawn(k, query, dtype=dtype, scale=query**-0.5),
        drawn(1, k, dtype=dtype),
        drawn(1, dtype=dtype),
    )


def split(frames: int, samples: int) -> Tensor:
    """Share frames out among samples, unevenly; some get none."""
    cuts = torch.randint(0, frames + 1, (samples - 1,)).sort().values
    ends = torch.cat([torch.tensor([0]), cuts, torch.tensor([frames])])
    return ends.diff()


def check(case: Case, lengths: Tensor | None, query_dim: int, k: int) -> None:
    dtype = case.x.dtype
    features = case.x.features.requires_grad_()
    samples = case.x.frames if lengths is None else len(lengths)
    query = drawn(samples, query_dim, dtype=dtype)
    weights = parameters(case.x.channels, query_dim, k, dtype)
    maps, q, ws = case.maps.requires_grad_(), exact(query), [exact(w) for w in weights]

    logits = oracle.score(maps, q, lengths, oracle.Attention(*ws))
    wanted = logits[case.mask]
    got = cross_modal_score(case.x.with_features(features), query, lengths, *weights)
    assert got.dtype == torch.promote_types(dtype, torch.float32)
    assert_rows(got, wanted, "logits")

    grad = torch.randn(wanted.shape, dtype=got.dtype)
    wanted.backward(grad.double())
    got.backward(padded_gradient(grad, features.shape[0]))
    assert_rows(features.grad, rows_of(maps.grad, case.mask), "grad of features")
    assert_close(query.grad, q.grad, "grad of query")
    for name, weight, w in zip(NAMES, weights, ws, strict=True):
        assert_close(weight.grad, w.grad, f"grad of {name}")


@given(
    data=st.data(),
    samples=st.integers(0, 3),
    query_dim=st.sampled_from([1, 7, 16]),
    k=st.sampled_from([1, 5, 16, 24]),
)
@settings(max_examples=60)
def test_equals_the_oracle(
    backend: str, data: st.DataObject, samples: int, query_dim: int, k: int
) -> None:
    case = data.draw(cases(dtypes_of(backend)))
    lengths = split(case.x.frames, samples) if samples else None
    if lengths is not None and samples == 2:
        lengths = lengths.int()
    check(case, lengths, query_dim, k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_the_oracle_at_real_sizes(backend: str, dtype: torch.dtype) -> None:
    case = make_case(5, 64, 12, 12, density=0.9, dtype=dtype, padding=3)
    check(case, torch.tensor([2, 0, 3]), 96, 64)


def test_padding_counts_for_nothing_without_frames(backend: str) -> None:
    check(make_case(0, 3, 2, 2, dtype=torch.float32, padding=4), None, 3, 2)
    check(make_case(0, 3, 2, 2, dtype=torch.float32), torch.zeros(2, dtype=torch.int64), 3, 2)


def arguments(**changes: Any) -> list[Any]:
    x = make_case(3, 4, 3, 3, dtype=torch.float32).x
    weights = parameters(4, 6, 5, torch.float32)
    args = {"x": x, "query": torch.zeros(2, 6), "lengths": torch.tensor([1, 2])}
    args |= dict(zip(NAMES, weights, strict=True))
    return list((args | changes).values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"lengths": torch.tensor([1, 1])},
            "lengths must be at least 0 and sum to 3 frames, got [1, 1]",
        ),
        (
            {"lengths": torch.tensor([4, -1])},
            "lengths must be at least 0 and sum to 3 frames, got [4, -1]",
        ),
        ({"lengths": torch.tensor([3])}, "query must be (1, D) for 1 lengths, got (2, 6)"),
        ({"lengths": torch.tensor([[1, 2]])}, "lengths must be (B,), got (1, 2)"),
        (
            {"lengths": torch.tensor([1.0, 2.0])},
            "lengths must be torch.int64 or torch.int32, got torch.float32",
        ),
        ({"lengths": None}, "query must be (3, D) for 3 frames without lengths, got (2, 6)"),
        ({"query": torch.zeros(2, 7)}, "query_weight must be (k, 7) for queries of 7, got (5, 6)"),
        (
            {"query": torch.zeros(2, 6).double()},
            "query must be torch.float32 as x's features, got torch.float64",
        ),
        ({"map_weight": torch.zeros(5, 3)}, "map_weight must be (k, 4) for 4 channels, got (5, 3)"),
        ({"map_bias": torch.zeros(4)}, "map_bias must be (5,), got (4,)"),
        ({"score_weight": torch.zeros(5)}, "score_weight must be (1, 5), got (5,)"),
        ({"score_bias": torch.zeros(())}, "score_bias must be (1,), got ()"),
        ({"score_bias": torch.zeros(1, device="meta")}, "score_bias must be on cpu as x, got meta"),
    ],
)
def test_refuses(backend: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        cross_modal_score(*arguments(**changes))
    assert str(error.value) == f"cross_modal_score: {message.replace('(k, 7)', '(5, 7)')}"


def test_flops_are_those_of_real_rows(backend: str) -> None:
    case = make_case(3, 6, 5, 5, 0.4, torch.float32, padding=5)
    x = case.x.with_features(case.x.features.requires_grad_())
    weights = parameters(6, 7, 8, torch.float32)
    query = torch.randn(2, 7, requires_grad=True)
    of_map, of_query, of_score = case.rows * 6 * 8, 2 * 7 * 8, case.rows * 8
    with FlopCounterMode(display=False) as counter:
        out = cross_modal_score(x, query, torch.tensor([1, 2]), *weights)
        assert counter.get_total_flops() == 2 * (of_map + of_query + of_score)
        out.sum().backward()
    forward_and_backward = 2 * (4 * of_map + 4 * of_query + 3 * of_score)
    assert counter.get_total_flops() == forward_and_backward


def test_autocast_casts_all_but_float64(backend: str) -> None:
    args = arguments(query=torch.randn(2, 6))
    with torch.autocast("cpu", torch.bfloat16):
        got = cross_modal_score(*args)
        mixed = cross_modal_score(*[a.bfloat16() if a is args[1] else a for a in args])
        wide = make_case(1, 2, 3, 3).x
        weights = parameters(2, 3, 2, torch.float64)
        query = torch.zeros(1, 3, dtype=torch.float64)
        assert cross_modal_score(wide, query, None, *weights).dtype == torch.float64
    x, lengths = args[0], args[2]
    cast = [a.bfloat16() for a in (args[1], *args[3:])]
    plain = cross_modal_score(x.with_features(x.features.bfloat16()), cast[0], lengths, *cast[1:])
    assert got.dtype == torch.float32
    assert torch.equal(got, plain)
    assert torch.equal(mixed, plain)
    got.square().sum().backward()
    assert all(a.grad.dtype == torch.float32 and a.grad.any() for a in args[3:])


def test_gradcheck(backend: str) -> None:
    x = make_case(3, 3, 3, 4, padding=2).x
    tensors = (
        x.features.nan_to_num(0).requires_grad_(),
        drawn(2, 4, dtype=torch.float64),
        *parameters(3, 4, 5, torch.float64),
    )

    def run(features: Tensor, query: Tensor, *weights: Tensor) -> Tensor:
        lengths = torch.tensor([2, 1])
        return cross_modal_score(x.with_features(features), query, lengths, *weights)

    assert torch.autograd.gradcheck(run, tensors)


def test_second_order_gradients_are_refused(backend: str) -> None:
    x = make_case(1, 2, 3, 3).x
    query = drawn(1, 3, dtype=torch.float64)
    out = cross_modal_score(x, query, None, *parameters(2, 3, 4, torch.float64)).square().sum()
    (grad,) = torch.autograd.grad(out, query, create_graph=True)
    with pytest.raises(RuntimeError, match=r"cross_modal_score: second-order gradients are not"):
        grad.sum().backward()


@pytest.mark.parametrize("lengths", [None, torch.tensor([2, 1])])
def test_opcheck(backend: str, lengths: Tensor | None) -> None:
    x = make_case(3, 3, 3, 4, dtype=torch.float32, padding=2).x
    features = x.features.nan_to_num(0).requires_grad_()
    query = drawn(3 if lengths is None else 2, 4, dtype=torch.float32)
    weights = parameters(3, 4, 5, torch.float32)
    args = (features, x.offsets, query, lengths, *weights)
    torch.library.opcheck(torch.ops.mesm_ops.cross_modal_score.default, args)
    plain = [a.detach() if isinstance(a, Tensor) else a for a in args[:-1]]
    grad = torch.randn(features.shape[0])
    torch.library.opcheck(torch.ops.mesm_ops.cross_modal_score_backward.default, (grad, *plain))
