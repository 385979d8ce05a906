"""The counts behind docs/gpu.md, on masks whose answer is known."""

from __future__ import annotations

import torch

from benchmarks.floors.tile_order import CORNERS_FIRST, count_key, gray_key, neighbours_of, taps_of
from tests import oracle


def test_keys_are_those_that_the_kernels_sort_by() -> None:
    known = neighbours_of(torch.rand(20, 6, 7) < 0.6)
    table = torch.where(known, 1, -1)
    assert gray_key(known, CORNERS_FIRST).tolist() == oracle.patterns(table)
    assert (count_key(known, CORNERS_FIRST) >> 9).tolist() == known.sum(1).tolist()


def test_taps_of_tiles() -> None:
    mask = torch.zeros(64, 5, 9, dtype=torch.bool)
    mask[:, 2, 1] = True  # of one tap
    mask[:, 1:4, 4:7] = True  # corners 4, sides 6, the middle 9
    known = neighbours_of(mask)
    assert known.sum() == 64 * (1 + 4 * 4 + 4 * 6 + 9)
    key = gray_key(known, CORNERS_FIRST)
    assert taps_of(known, key, window=1, tile=64) == 9
    # Ten patterns of 64 rows each: in order every tile has one.
    assert taps_of(known, key, window=10**6, tile=64) == (1 + 4 * 4 + 4 * 6 + 9) / 10
    assert taps_of(known[:10], key[:10], window=10**6, tile=64) == 9  # what is left over counts
