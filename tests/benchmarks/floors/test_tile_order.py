"""The counts behind docs/design/gpu.md, on masks whose answer is known."""

from __future__ import annotations

import torch

from benchmarks.floors.tile_order import (
    CORNERS_FIRST,
    count_key,
    gray_key,
    neighbours_of,
    taps_as_built,
    taps_of,
)
from mesm_ops.triton.parts.rulebook import WINDOW_SITES
from tests import oracle


def test_keys_are_those_that_the_kernels_sort_by() -> None:
    known = neighbours_of(torch.rand(20, 6, 7) < 0.6)
    table = torch.where(known, 1, -1)
    places = [511 - place for place in oracle.patterns(table)]
    assert gray_key(known, CORNERS_FIRST).tolist() == places
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


def test_the_gray_code_in_windows_is_what_is_built() -> None:
    mask = torch.rand(600, 12, 20) < 0.5
    mask[:, 3:9] = True
    known = neighbours_of(mask)
    key = gray_key(known, CORNERS_FIRST)
    frames = WINDOW_SITES // mask[0].numel()
    assert frames == 546  # two windows
    key += (mask.nonzero()[:, 0] // frames) << 10
    assert taps_as_built(mask) == taps_of(known, key, window=10**6, tile=128)
