"""The traced attention is the one the model runs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mesm.analysis.attention_trace import BlockAttention, surviving_pixels, trace_attention
from mesm.evaluation.run import Run


@pytest.fixture(scope="module")
def opened(tiny_mesm: Path) -> Run:
    return Run.open_sparse(tiny_mesm)


def test_kept_is_what_the_model_keeps(opened: Run) -> None:
    batch = next(opened.batches("test"))
    traced = trace_attention(opened.sparse, batch)
    with torch.inference_mode():
        kept = opened.sparse.kept_sites(batch)
    assert set(traced) == {"face", "audio"}
    for modality, blocks in traced.items():
        for block, maps in zip(blocks, kept[modality], strict=True):
            np.testing.assert_array_equal(block.kept, maps.mask().numpy())


def test_attention_is_a_softmax_over_candidates_and_kept_is_its_nucleus(opened: Run) -> None:
    batch = next(opened.batches("test"))
    for blocks in trace_attention(opened.sparse, batch).values():
        assert blocks[0].candidates.all()
        for block in blocks:
            np.testing.assert_allclose(block.attention.sum((1, 2)), 1, atol=1e-5)
            assert not block.attention[~block.candidates].any()
            assert not (block.kept & ~block.candidates).any()
            for attention, kept in zip(block.attention, block.kept, strict=True):
                assert attention[kept].sum() >= 0.5 - 1e-5
                assert attention[kept].sum() - attention[kept].min() < 0.5 + 1e-5
                if not kept.all():
                    assert attention[kept].min() >= attention[~kept].max() - 1e-6


def test_surviving_pixels_were_kept_by_all() -> None:
    def block(kept: list[list[int]]) -> BlockAttention:
        mask = np.array([kept], dtype=bool)
        return BlockAttention(mask, mask.astype(np.float32), mask)

    blocks = [
        block([[1, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]),
        block([[1, 0], [0, 1]]),
    ]
    expected = np.zeros((8, 8), dtype=bool)
    expected[0:4, 0:4] = True
    expected[0:2, 2:4] = False
    expected[6:8, 4:8] = True
    np.testing.assert_array_equal(surviving_pixels(blocks, 0, 8, 8), expected)
