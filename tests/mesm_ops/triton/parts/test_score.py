"""Tiles of several samples, and the choice of blocks; the rest is in test_cross_modal_score.py."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts.prepare import prepare
from mesm_ops.triton.parts.score import score, score_blocks
from tests.mesm_ops.cases import assert_rows
from tests.mesm_ops.triton.parts.selections import DEVICE, draw_selection


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("shape", "density", "lengths", "k"),
    [
        ((40, 64, 3, 3), 0.7, None, 64),  # many samples in a tile
        ((4, 64, 7, 9), 1.0, [1, 0, 3], 70),  # one in most
        ((3, 128, 5, 7), 0.9, [3], 130),
        ((2, 200, 5, 7), 0.9, [1, 1], 40),
        ((2, 300, 4, 4), 0.9, [1, 1], 100),  # more channels than a program holds
        ((3, 5, 2, 3), 0.0, [1, 2], 3),
    ],
)
def test_tiles_of_several_samples(
    shape: tuple[int, int, int, int],
    density: float,
    lengths: list[int] | None,
    k: int,
    dtype: torch.dtype,
) -> None:
    case = draw_selection(shape, density, lengths, k, 9, dtype, padding=200)
    query, map_weight, map_bias, query_weight, score_weight, score_bias = (
        tensor.to(DEVICE) for tensor in case.parameters
    )
    features, offsets = case.features.to(DEVICE), case.offsets.to(DEVICE)
    rows, samples = len(features), len(query)
    projected_query = torch.full((samples, k), torch.nan, device=DEVICE)
    sample_of_row = torch.full((rows,), 10**6, dtype=torch.int32, device=DEVICE)
    given = None if case.lengths is None else case.lengths.to(DEVICE)
    prepare(
        *(features, offsets, query, given, map_weight, map_bias, query_weight),
        *(projected_query, None, sample_of_row),
    )
    logits = torch.full((rows,), torch.nan, device=DEVICE)
    score(
        features,
        offsets,
        projected_query,
        sample_of_row,
        map_weight,
        score_weight,
        score_bias,
        logits,
    )
    exact = [tensor.double() for tensor in case.parameters]
    wanted, _ = case.attention(case.features[: case.real].double(), exact)
    assert_rows(logits.cpu(), wanted, "logits")


@pytest.mark.parametrize("capability", [8, 9, 10, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_blocks_are_what_a_product_takes(dtype: torch.dtype, capability: int) -> None:
    for channels in (1, 16, 64, 100, 200, 256, 512):
        for k in (1, 33, 128, 512):
            tile, block_k, block_c, warps, stages = score_blocks(dtype, channels, k, capability)
            for block in (tile, block_k, block_c):
                assert block >= 16
                assert block & (block - 1) == 0
            assert warps in (4, 8)
            assert stages >= 1
            # A tile and two blocks of the weight: what every GPU has.
            assert (tile + 2 * block_k) * block_c * dtype.itemsize <= 96 << 10
