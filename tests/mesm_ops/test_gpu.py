from __future__ import annotations

import copy

import pytest
import torch

from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps

pytestmark = pytest.mark.gpu


def make() -> tuple[SparseCrossModalBlock, SparseFeatureMaps, torch.Tensor, torch.Tensor]:
    block = SparseCrossModalBlock(4, 6, 5, 3)
    torch.nn.init.normal_(block.attention.score.weight)
    mask = torch.rand(4, 7, 8) < 0.7
    maps = SparseFeatureMaps.from_dense(torch.randn(4, 4, 7, 8), mask)
    return block, maps, torch.randn(2, 5), torch.tensor([1, 3])


def to_cuda(x: SparseFeatureMaps) -> SparseFeatureMaps:
    return torch.utils._pytree.tree_map(lambda t: t.cuda(), x)


def test_equals_the_cpu() -> None:
    block, maps, query, lengths = make()
    other = copy.deepcopy(block).cuda()
    wanted = block(maps, query, lengths)
    got = other(to_cuda(maps), query.cuda(), lengths.cuda())
    assert got.features.shape[0] == min(maps.features.shape[0], 4 * 3 * 4)
    assert torch.equal(got.mask().cpu(), wanted.mask())
    # Float32 through two convolutions and norms.
    torch.testing.assert_close(got.to_dense().cpu(), wanted.to_dense(), rtol=1e-4, atol=1e-5)
    wanted.to_dense().square().sum().backward()
    got.to_dense().square().sum().backward()
    for (name, a), b in zip(other.named_parameters(), block.parameters(), strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-3, atol=1e-3, msg=name)


def test_nothing_waits_for_the_device() -> None:
    block, maps, query, lengths = make()
    block.cuda()
    args = (to_cuda(maps).to_dense(), to_cuda(maps).mask(), query.cuda(), lengths.cuda())

    def step(dense: torch.Tensor, mask: torch.Tensor, *rest: torch.Tensor) -> None:
        block(SparseFeatureMaps.from_dense(dense, mask), *rest).to_dense().sum().backward()

    torch.use_deterministic_algorithms(False)  # some of which wait
    step(*args)  # kernels load
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(*args)
    finally:
        torch.cuda.set_sync_debug_mode("default")
