"""Tiles that each lie in one sample, against a loop over the samples."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.sample_tiles import most_tiles, sample_tiles

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize(
    ("counts", "lengths", "padding"),
    [
        ([5, 0, 33, 16], [2, 0, 1, 1], 4),
        ([5, 0, 33, 16], None, 0),
        ([], [], 3),
        ([1] * 700, None, 0),  # more samples than are looked at at a time
        ([40, 3], [2], 100),
    ],
)
@pytest.mark.parametrize("tile", [16, 32])
def test_equals_a_loop(
    counts: list[int], lengths: list[int] | None, padding: int, tile: int
) -> None:
    rows = sum(counts) + padding
    offsets = torch.tensor([0, *counts]).cumsum(0, dtype=torch.int32).to(DEVICE)
    each = [1] * len(counts) if lengths is None else lengths
    given = None if lengths is None else torch.tensor(lengths).to(DEVICE)
    got = sample_tiles(rows, offsets, given, len(each), tile).tolist()
    wanted: list[list[int]] = [[], [], []]
    frame = tiles = begin = 0
    for length in each:
        end = begin + sum(counts[frame : frame + length])
        tiles += -(-(end - begin) // tile)
        for line, value in zip(wanted, (begin, end, tiles), strict=True):
            line.append(value)
        frame, begin = frame + length, end
    assert got == wanted
    most = most_tiles(rows, len(each), tile)
    assert tiles <= most  # none is left out
    assert most * tile >= rows  # all padding is written


def test_no_offset_leads_beyond_the_rows() -> None:
    offsets = torch.tensor([0, 90, 12], dtype=torch.int32, device=DEVICE)
    begin, end, _ = sample_tiles(20, offsets, None, 2, 16).tolist()
    assert all(0 <= b <= e <= 20 for b, e in zip(begin, end, strict=True))
