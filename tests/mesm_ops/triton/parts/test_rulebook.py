"""Rows in sorted order and their neighbours, against loops that read like the definition."""

from __future__ import annotations

import itertools

import pytest
import torch

from mesm_ops.triton.parts import rulebook as module
from mesm_ops.triton.parts.rulebook import GRAY_BITS, place_rows, rulebook
from mesm_ops.triton.parts.tiles import TILE
from tests.mesm_ops.cases import Case, make_case


def gray_code(pattern: int) -> int:
    """The number whose Gray code has the bits that stand for the taps of a pattern."""
    wanted = sum(1 << GRAY_BITS[tap] for tap in range(9) if pattern >> tap & 1)
    return next(number for number in range(512) if number ^ (number >> 1) == wanted)


def expected(case: Case, frames_of_window: int) -> tuple[list[int], list[list[int]]]:
    """Each row's position, and its neighbours' rows at the nine taps."""
    x = case.x
    sites, offsets = x.sites.tolist(), x.offsets.tolist()
    neighbours, keys = [], []
    for frame, (begin, end) in enumerate(itertools.pairwise(offsets)):
        row_at = {sites[row]: row for row in range(begin, end)}
        for row in range(begin, end):
            y, at = divmod(sites[row], x.width)
            near = []
            for tap in range(9):
                ny, nx = y + tap // 3 - 1, at + tap % 3 - 1
                inside = 0 <= ny < x.height and 0 <= nx < x.width
                near.append(row_at.get(ny * x.width + nx, -1) if inside else -1)
            neighbours.append(near)
            pattern = sum((n >= 0) << tap for tap, n in enumerate(near))
            keys.append((frame // frames_of_window, -gray_code(pattern), row))
    place = [0] * len(keys)
    for position, (_, _, row) in enumerate(sorted(keys)):
        place[row] = position
    return place, neighbours


@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(
    ("frames", "height", "width"), [(0, 3, 3), (1, 1, 1), (9, 7, 5), (3, 16, 4)]
)
@pytest.mark.parametrize("window", [1, 2, 1000])
def test_place_rows(
    density: float,
    frames: int,
    height: int,
    width: int,
    window: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WINDOW_SITES", window * height * width)
    case = make_case(frames, 1, height, width, density, torch.float32, padding=3)
    place, lists, masks = place_rows(case.x.sites, case.x.offsets, height, width)
    want, neighbours = expected(case, window)
    assert place[: case.rows].tolist() == want
    assert sorted(place.tolist()) == list(range(case.rows + 3))
    for row, position in enumerate(want):
        near = [-1 if n < 0 else want[n] for n in neighbours[row]]
        assert lists[position // TILE, :, position % TILE].tolist() == near
    real = lists.transpose(1, 2).reshape(-1, 9)
    assert (real[case.rows :] == -1).all()
    for tile, mask in enumerate(masks.tolist()):
        assert mask == sum(int((lists[tile, tap] >= 0).any()) << tap for tap in range(9))


def test_rulebook_of_rows_that_stay() -> None:
    case = make_case(5, 1, 7, 5, 0.5, torch.float32, padding=3)
    rules = rulebook(case.x.sites, case.x.offsets, 7, 5)
    place, neighbours = expected(case, 1000)
    assert rules.order is not None
    assert int(rules.number) == case.rows
    for row, position in enumerate(place):
        assert int(rules.order[position]) == row
        lane = rules.lists[position // TILE, :, position % TILE]
        assert lane.tolist() == neighbours[row]
