"""Alone in its group, a process finds what sparse_batch_norm finds; more are in test_norms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from mesm_ops.ops.synchronised_norm import synchronised_norm
from mesm_ops.reference import SparseBatchNorm, sparse_batch_norm
from tests.mesm_ops.cases import make_case


@pytest.fixture(autouse=True)
def group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def arguments(dtype: torch.dtype, density: float = 0.6, relu: bool = True) -> SparseBatchNorm:
    x = make_case(3, 4, 3, 5, density, dtype, padding=2).x
    weight, bias = torch.randn(2, 4, dtype=dtype)
    zeros = torch.zeros(4, dtype=torch.promote_types(dtype, torch.float32))
    return SparseBatchNorm(x.features, x.offsets, weight, bias, zeros, zeros, True, 1e-5, relu)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    ("dtype", "close"),
    [
        (torch.float64, 1e-12),
        (torch.float32, 1e-5),
        # One rounding of the result, whose values are below 8.
        (torch.bfloat16, 2**-5),
        (torch.float16, 2**-8),
    ],
)
def test_one_process_is_as_none(dtype: torch.dtype, close: float, relu: bool) -> None:
    given = arguments(dtype, relu=relu)
    found, wanted = synchronised_norm(given, None), sparse_batch_norm(given)
    torch.testing.assert_close(found.features, wanted.features, rtol=0, atol=close)
    rows = int(given.offsets[-1])
    real = given.features[:rows].double()
    wide = found.mean.dtype
    assert wide is torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(found.mean.double(), real.mean(0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.var.double(), real.var(0, False), rtol=1e-6, atol=1e-6)
    assert found.rows.item() == rows
    assert not found.features[rows:].any()


def test_gradients() -> None:
    given = arguments(torch.float64)
    rows = int(given.offsets[-1])

    def run(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        padded = torch.cat([features, given.features[rows:]])
        changed = given._replace(features=padded, weight=weight, bias=bias)
        return synchronised_norm(changed, None).features

    values = given.features[:rows], given.weight, given.bias
    leaves = [value.clone().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(run, leaves)
    out = run(*leaves)
    first = torch.autograd.grad(out.square().sum(), leaves[0], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_without_any_site() -> None:
    found = synchronised_norm(arguments(torch.float32, density=0.0), None)
    assert found.rows.item() == 0
    for values in found:
        assert not values.any()
