"""The reckoning of both ways in which a block runs in CUDA."""

from __future__ import annotations

import pytest

from benchmarks import cost_model, way_model
from benchmarks.cost_model import Sizes, block_costs
from benchmarks.gpu_ways import WAYS
from benchmarks.shapes import FACE_BLOCKS
from benchmarks.way_model import GROUPS, group_us, held, launches_us, shared_bytes, weights


def half_kept(number: int) -> Sizes:
    """Half of a block's sites, each with all its neighbours."""
    shape, frames = FACE_BLOCKS[number], 512
    kept = frames * shape.sites // 2
    return Sizes(shape, frames, 26, 768, kept, 9 * kept, kept // 2)


@pytest.mark.parametrize("number", range(3))
def test_no_way_is_faster_than_its_floor(number: int) -> None:
    s = half_kept(number)
    floor = block_costs(s)["block inference"].floor_us(way_model.H200, "bfloat16")
    assert len(WAYS) == 2
    for parts in (group_us(s, GROUPS[number]), launches_us(s)):
        # Sixteen rows leave out some taps, the floor of full neighbourhoods none.
        assert parts["sum"] > floor * way_model.LAUNCH_TAPS / 9
        assert parts["sum"] > max(value for name, value in parts.items() if name != "sum")


def test_what_a_group_holds() -> None:
    rows = [held(half_kept(number), group) for number, group in enumerate(GROUPS)]
    assert rows == [288, 144, 80]
    for number, group in enumerate(GROUPS):
        s = half_kept(number)
        assert rows[number] <= group.row_warps * 80
        assert s.shape.out_channels == group.columns
        assert weights(s) == 9 * 2 * s.shape.out_channels * (3 * s.shape.in_channels)
    # On an H200 all but the last, tables aside; on an A100 with two stages the first.
    fits = [shared_bytes(half_kept(n), group) < 227 * 1024 for n, group in enumerate(GROUPS)]
    assert fits == [True, True, False]
    assert shared_bytes(half_kept(0), GROUPS[0], stages=2) < 163 * 1024


def test_weights_are_too_many_for_groups_of_the_last_block() -> None:
    s = half_kept(2)
    assert group_us(s, GROUPS[2])["sum"] > launches_us(s)["sum"]
    assert group_us(s, GROUPS[2])["L2"] > group_us(s, GROUPS[2])["tensor cores"]


def test_the_table_has_a_line_for_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = cost_model.face_sizes
    monkeypatch.setattr(way_model, "face_sizes", lambda *a: drawn(*a, drawn=4))
    assert len(way_model.table()) == 2 + 3
