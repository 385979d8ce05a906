from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mesm_ops import cross_modal_score, use_backend
from mesm_ops.reference import CrossModalScore, CrossModalScoreBackward
from mesm_ops.triton.cross_modal_score import cross_modal_score as score_op
from mesm_ops.triton.cross_modal_score import cross_modal_score_backward as score_backward
from tests import oracle
from tests.mesm_ops.cases import (
    Case,
    assert_close,
    assert_rows,
    drawn,
    exact,
    make_case,
    padded_gradient,
    rows_of,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = ("query", "map_weight", "map_bias", "query_weight", "score_weight", "score_bias")


def parameters(samples: int, channels: int, query: int, k: int, dtype: torch.dtype) -> list[Tensor]:
    return [
        drawn(samples, query, dtype=dtype),
        drawn(k, channels, dtype=dtype, scale=channels**-0.5),
        drawn(k, dtype=dtype),
        drawn(k, query, dtype=dtype, scale=query**-0.5),
        drawn(1, k, dtype=dtype),
        drawn(1, dtype=dtype),
    ]


def on_device(tensor: Tensor) -> Tensor:
    return tensor.detach().to(DEVICE).requires_grad_(tensor.requires_grad)


def score(features: Tensor, case: Case, lengths: Tensor | None, leaves: list[Tensor]) -> Tensor:
    x = case.x
    maps = type(x)(features, x.sites.to(DEVICE), x.offsets.to(DEVICE), x.height, x.width)
    query, *weights = leaves
    lengths = None if lengths is None else lengths.to(DEVICE)
    with use_backend("triton"):
        return cross_modal_score(maps, query, lengths, *weights)


def torch_errors(
    case: Case, lengths: Tensor | None, leaves: list[Tensor], grad: Tensor, wanted: list[Tensor]
) -> list[float]:
    """How far the gradients of torch's own ops in the features' dtype are from the oracle's."""
    frame = torch.arange(case.x.frames).repeat_interleave(case.x.offsets.diff())
    rows = case.x.features[: case.rows].detach().clone().requires_grad_()
    query, map_weight, map_bias, query_weight, score_weight, score_bias = (
        tensor.detach().clone().requires_grad_() for tensor in leaves
    )
    lin = torch.nn.functional.linear
    spread = oracle.spread(lin(query, query_weight), lengths)[frame]
    hidden = torch.tanh(lin(rows, map_weight, map_bias) + spread)
    lin(hidden, score_weight, score_bias)[:, 0].backward(grad.to(rows.dtype))
    got = (rows.grad, map_weight.grad)
    return [float((g.double() - w).norm()) for g, w in zip(got, wanted, strict=True)]


def check(case: Case, lengths: Tensor | None, query_dim: int, k: int) -> None:
    dtype = case.x.dtype
    samples = case.x.frames if lengths is None else len(lengths)
    given = parameters(samples, case.x.channels, query_dim, k, dtype)
    maps, ws = case.maps.requires_grad_(), [exact(w) for w in given]
    wanted = oracle.score(maps, ws[0], lengths, oracle.Attention(*ws[1:]))[case.mask]
    grad = torch.randn(wanted.shape)
    wanted.backward(grad.double())

    features, leaves = on_device(case.x.features.requires_grad_()), [on_device(w) for w in given]
    got = score(features, case, lengths, leaves)
    assert got.dtype == torch.float32
    assert_rows(got.cpu(), wanted, "logits")
    got.backward(padded_gradient(grad, features.shape[0]).to(DEVICE))

    of_rows = rows_of(maps.grad, case.mask)
    assert features.grad.dtype == dtype
    if dtype == torch.float32:
        assert_rows(features.grad.cpu(), of_rows, "grad of features")
        assert_close(leaves[1].grad.cpu(), ws[1].grad, "grad of map_weight")
    else:
        # The factors of these two products are rounded to the dtype, as torch rounds them.
        assert not features.grad[case.rows :].any(), "padding rows must be zero"
        errors = torch_errors(case, lengths, given, grad, [of_rows, ws[1].grad])
        found = (features.grad[: case.rows], of_rows), (leaves[1].grad, ws[1].grad)
        for (g, w), error in zip(found, errors, strict=True):
            assert (g.cpu().double() - w).norm() <= 2 * error + 1e-6
    for i in (0, 2, 3, 4, 5):
        assert_close(leaves[i].grad.cpu(), ws[i].grad, f"grad of {NAMES[i]}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("shape", "density", "lengths", "query_dim", "k"),
    [
        ((4, 17, 5, 7), 0.5, [1, 0, 3], 7, 5),  # nothing is a power of two
        ((3, 3, 2, 3), 0.4, None, 3, 2),  # a query for each frame
        ((5, 64, 6, 5), 1.0, [5], 20, 64),  # all sites, one sample
        ((2, 70, 4, 4), 0.7, [1, 1], 70, 70),  # more than one block of channels and of k
    ],
)
def test_equals_the_oracle(
    dtype: torch.dtype,
    shape: tuple[int, int, int, int],
    density: float,
    lengths: list[int] | None,
    query_dim: int,
    k: int,
) -> None:
    case = make_case(*shape, density=density, dtype=dtype, padding=5, strided=k == 5)
    check(case, None if lengths is None else torch.tensor(lengths), query_dim, k)


def test_many_samples_of_few_rows() -> None:
    # More samples than one step of the schedule takes, most of them without rows.
    lengths = torch.zeros(300, dtype=torch.int32)
    lengths[[3, 255, 256, 299]] = torch.tensor([2, 1, 0, 3], dtype=torch.int32)
    check(make_case(6, 4, 3, 3, 0.3, torch.float32, padding=40), lengths, 5, 3)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_one_site_or_none(density: float) -> None:
    check(make_case(1, 2, 1, 1, density, torch.float32, padding=2), None, 3, 4)


@pytest.mark.parametrize("padding", [0, 4])
def test_without_frames(padding: int) -> None:
    check(make_case(0, 3, 2, 2, dtype=torch.float32, padding=padding), None, 3, 2)
    lengths = torch.zeros(2, dtype=torch.int64)
    check(make_case(0, 3, 2, 2, dtype=torch.float32, padding=padding), lengths, 3, 2)


def test_great_values_saturate() -> None:
    case = make_case(2, 3, 3, 3, 1.0, torch.float32)
    leaves = [on_device(w) for w in parameters(2, 3, 2, 4, torch.float32)]
    features = on_device((case.x.features * 1e30).requires_grad_())
    got = score(features, case, None, leaves)
    assert got.isfinite().all()
    got.sum().backward()
    assert not features.grad.any()
    assert leaves[4].grad.isfinite().all()


def test_nan_reaches_its_row_alone() -> None:
    case = make_case(2, 3, 4, 4, 1.0, torch.float32)
    case.x.features[3, 1] = torch.nan
    leaves = [on_device(w) for w in parameters(2, 3, 2, 4, torch.float32)]
    got = score(on_device(case.x.features), case, None, leaves)
    assert got.isnan().nonzero().flatten().tolist() == [3]


def test_parameters_are_rounded_to_the_dtype_of_features() -> None:
    case = make_case(3, 40, 4, 5, 0.6, torch.bfloat16, padding=4)
    wide = [on_device(w) for w in parameters(3, 40, 6, 70, torch.float32)]
    low = [on_device(w.detach().bfloat16().requires_grad_()) for w in wide]
    made = []
    for leaves in (wide, low):
        features = on_device(case.x.features.requires_grad_())
        query, *weights = leaves
        given = (features, case.x.offsets.to(DEVICE), query, None, *weights)
        grad = torch.linspace(-1, 1, len(features), device=DEVICE)
        back = CrossModalScoreBackward(grad, *given[:-1])
        made.append([score_op(CrossModalScore(*given)), *score_backward(back)])
    for one, other in zip(*made, strict=True):
        assert torch.equal(one.to(other.dtype), other)
    assert [g.dtype for g in made[0][2:]] == [torch.float32] * 6


def test_two_runs_agree_bit_for_bit() -> None:
    case = make_case(5, 33, 6, 6, 0.8, torch.float32, padding=3)
    given = parameters(2, 33, 9, 24, torch.float32)
    found = []
    for _ in range(2):
        features, leaves = on_device(case.x.features.requires_grad_()), list(map(on_device, given))
        got = score(features, case, torch.tensor([2, 3]), leaves)
        got.backward(padded_gradient(torch.linspace(-1, 1, case.rows), len(got)).to(DEVICE))
        found.append([got.detach(), features.grad, *(w.grad for w in leaves)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_refuses_float64() -> None:
    case = make_case(2, 3, 3, 3)
    leaves = [on_device(w) for w in parameters(2, 3, 2, 4, torch.float64)]
    with pytest.raises(RuntimeError, match=r"it takes float32, bfloat16, float16, got float64"):
        score(on_device(case.x.features), case, None, leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [7, 16])
def test_an_infinite_feature_saturates_at_any_number_of_channels(
    k: int, dtype: torch.dtype
) -> None:
    case = make_case(2, 3, 4, 4, 1.0, dtype)
    case.x.features[3, 1] = torch.inf
    leaves = parameters(2, 3, 2, k, dtype)
    got = score(on_device(case.x.features), case, None, [on_device(leaf) for leaf in leaves])
    with use_backend("reference"):
        wanted = cross_modal_score(case.x, leaves[0], None, *leaves[1:])
    assert torch.isfinite(wanted).all()
    torch.testing.assert_close(got.cpu(), wanted, rtol=1e-2, atol=1e-2)
