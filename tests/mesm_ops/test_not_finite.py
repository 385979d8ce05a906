"""Infinities and NaN on every backend of a CPU, against values that follow from the definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import mesm_ops
from mesm_ops import SparseFeatureMaps

INF, NAN = torch.inf, torch.nan
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def two_apart(dtype: torch.dtype, padding: int = 0) -> SparseFeatureMaps:
    """Two active sites, opposite corners of 3 x 3, neither the other's neighbour."""
    features = torch.tensor([[1.0], [2.0], *[[NAN]] * padding], dtype=dtype)
    sites = torch.tensor([0, 8, *[10**9] * padding], dtype=torch.int32)
    return SparseFeatureMaps(features, sites, torch.tensor([0, 2], dtype=torch.int32), 3, 3)


@pytest.mark.parametrize("value", [INF, -INF, NAN])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_never_meets_an_inactive_neighbour(
    backend: str, dtype: torch.dtype, value: float
) -> None:
    x = two_apart(dtype, padding=1)
    x = x.with_features(x.features.requires_grad_())
    weight = torch.full((1, 1, 3, 3), value, dtype=dtype)
    weight[0, 0, 1, 1] = 3
    weight.requires_grad_()
    out = mesm_ops.subm_conv2d(x, weight).features
    assert out.flatten().tolist() == [3, 6, 0]
    out.backward(torch.tensor([[1.0], [INF], [NAN]], dtype=dtype))
    assert x.features.grad is not None
    assert x.features.grad.flatten().tolist() == [3, INF, 0]
    assert weight.grad is not None
    assert weight.grad.flatten().tolist() == [0, 0, 0, 0, INF, 0, 0, 0, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_infinite_row_of_known_statistics_has_a_finite_gradient(
    backend: str, dtype: torch.dtype
) -> None:
    features = torch.tensor([[-INF], [2.0]], dtype=dtype, requires_grad=True)
    x = two_apart(dtype).with_features(features)
    one, zero = torch.ones(1, dtype=dtype), torch.zeros(1, dtype=dtype)
    out = mesm_ops.sparse_batch_norm(x, zero, 4 * one, one, zero, eps=0.0).features
    assert out.flatten().tolist() == [-INF, 1]
    out.sum().backward()
    assert features.grad is not None
    assert features.grad.flatten().tolist() == [0.5, 0.5]  # as torch's batch norm has them


@pytest.mark.parametrize("rows", [2, 40, 700])  # in one run, in several, in several chunks
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_of_a_batch_with_an_infinity_is_infinite(
    backend: str, dtype: torch.dtype, rows: int
) -> None:
    features = torch.ones(rows, 4, dtype=dtype)
    features[rows // 2, 0] = INF
    features[rows - 1, 1] = -INF
    features[0, 2] = INF
    features[rows - 1, 2] = -INF
    x = SparseFeatureMaps.from_dense(features.T.reshape(1, 4, 1, rows))
    mean, var = torch.zeros(4, dtype=dtype), torch.ones(4, dtype=dtype)
    one = torch.ones(4, dtype=dtype)
    out = mesm_ops.sparse_batch_norm(x, mean, var, one, 0 * one, training=True, momentum=0.25)
    assert mean[:2].tolist() == [INF, -INF]
    assert mean[2].isnan()
    assert mean[3] == 0.25
    assert var[:3].isnan().all()
    assert out.features[:, :3].isnan().all()
    assert not out.features[:, 3].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_takes_no_part_in_scores_of_infinite_weights(
    backend: str, dtype: torch.dtype
) -> None:
    x = two_apart(dtype, padding=2)
    x = x.with_features(x.features.requires_grad_())
    query = torch.ones(1, 1, dtype=dtype, requires_grad=True)
    weights = [
        torch.full(shape, value, dtype=dtype, requires_grad=True)
        for shape, value in (((1, 1), INF), ((1,), 0), ((1, 1), 1), ((1, 1), 2), ((1,), 1))
    ]
    logits = mesm_ops.cross_modal_score(x, query, None, *weights)
    assert logits.tolist() == [3, 3, 0, 0]  # 2 tanh(infinity) + 1
    logits.sum().backward()
    gradient = x.features.grad
    assert gradient is not None
    assert gradient[:2].isnan().all()  # no slope times an infinite weight
    assert not gradient[2:].any()
    of_bias = weights[1].grad
    assert of_bias is not None
    assert not of_bias.any()


@pytest.mark.parametrize("score", [NAN, INF])
def test_a_frame_whose_softmax_has_a_nan_keeps_all(backend: str, score: float) -> None:
    x = two_apart(torch.float32)
    logits = torch.tensor([score, 0.0])
    out = mesm_ops.top_p_select(x, logits, 0.1, "hard")
    assert out.features.flatten().tolist() == [1, 2]


def test_an_infinite_negative_score_is_left_out(backend: str) -> None:
    out = mesm_ops.top_p_select(two_apart(torch.float32), torch.tensor([-INF, 0.0]), 0.9)
    assert out.features.flatten().tolist() == [4]  # all the attention, of two candidates


def leaf(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(*shape).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_a_batch_of_one_site_passes_no_gradient(dtype: torch.dtype, channels: int) -> None:
    """Its variance is 0, so a mean of other than the normalised value would be blown up."""
    torch.manual_seed(1)
    for backend in ("auto", "reference"):
        block = mesm_ops.SparseCrossModalBlock(channels, 8, 5, 5, p=1.0, selection="hard")
        for norm in (block.norm1, block.norm2):
            torch.nn.init.ones_(norm.bias)
        features = leaf(dtype, 1, channels)
        site = torch.zeros(1, dtype=torch.int32)
        x = SparseFeatureMaps(features, site, torch.tensor([0, 1], dtype=torch.int32), 2, 2)
        with mesm_ops.use_backend(backend):
            out = block.to(dtype)(x, torch.zeros(1, 5, dtype=dtype)).features
            out.sum().backward()
        assert features.grad is not None
        assert block.conv1.weight.grad is not None
        assert not features.grad.any(), backend
        assert not block.conv1.weight.grad.any(), backend
