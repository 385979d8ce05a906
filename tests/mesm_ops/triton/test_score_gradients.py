"""Gradients that are added to others; the rest is in test_cross_modal_score.py."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.score_gradients import gradient_blocks, score_gradients
from tests.mesm_ops.cases import make_case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("k", [3, 70])  # in one launch, and in several
def test_adds_to_a_gradient(k: int) -> None:
    x = make_case(3, 6, 5, 7, 0.6, torch.float32, padding=4).x
    rows, real = x.features.shape[0], int(x.offsets[-1])
    shapes = ((2, 5), (k, 6), (k,), (k, 5), (1, k))
    query, *parameters = (torch.randn(shape, device=DEVICE) for shape in shapes)
    grad, lengths = torch.randn(rows, device=DEVICE), torch.tensor([1, 2], device=DEVICE)
    given = (grad, x.features.to(DEVICE), x.offsets.to(DEVICE), query, lengths, *parameters)
    alone, *others = score_gradients(*given)
    onto = torch.randn(rows, 6, device=DEVICE)
    onto[real:] = 0
    added, *same = score_gradients(*given, onto.clone())
    # Sums of up to 70 products, begun with another number.
    torch.testing.assert_close(added, alone + onto, rtol=1e-5, atol=1e-5)
    assert not added[real:].any()
    for one, other in zip(others, same, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("capability", [8, 9, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_blocks_are_what_a_product_takes(dtype: torch.dtype, capability: int) -> None:
    for channels in (1, 16, 64, 200, 512):
        for k in (1, 33, 512):
            tile, block_k, block_c, warps = gradient_blocks(dtype, channels, k, capability)
            for block in (tile, block_k, block_c):
                assert 16 <= block <= 64
                assert block & (block - 1) == 0
            assert warps in (4, 8)
