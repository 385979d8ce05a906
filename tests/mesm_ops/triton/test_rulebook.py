"""The rulebook against dictionaries and Python's own sort."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from mesm_ops import SparseFeatureMaps
from mesm_ops.triton import rulebook as module
from mesm_ops.triton.neighbours import CHUNK, chunks_of
from mesm_ops.triton.rulebook import Rulebook, rules_of
from tests import oracle
from tests.mesm_ops.cases import Case, cases, make_case
from tests.mesm_ops.triton.test_neighbours import wanted_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def made_for(x: SparseFeatureMaps) -> Rulebook:
    made = rules_of(x.sites.to(DEVICE), x.offsets.to(DEVICE), x.height, x.width)
    return Rulebook(*(tensor.cpu() for tensor in made))


def check(case: Case, window_frames: int) -> Rulebook:
    made, table = made_for(case.x), wanted_of(case)
    rows, offsets = case.rows, case.x.offsets.tolist()
    of_row = oracle.patterns(table[:rows])
    wanted: list[int] = []
    for first in range(0, case.x.frames, window_frames):
        last = min(first + window_frames, case.x.frames)
        wanted += sorted(range(offsets[first], offsets[last]), key=of_row.__getitem__)  # stable
    assert made.order.tolist() == [*wanted, *range(rows, len(table))]
    assert torch.equal(made.table, table[made.order.long()])
    assert (made.windows == -1).all()
    for tap in range(9):
        has = (table[:, tap] >= 0).nonzero()[:, 0]
        number = int(made.numbers[tap])
        assert made.pairs[tap, :number].tolist() == has.tolist()
        # What the weight gradient reads as their neighbours.
        assert made.pairs[8 - tap, :number].tolist() == table[has, tap].tolist()
    return made


@given(case=cases([torch.float32]))
@settings(max_examples=15)
def test_equals_dictionaries(case: Case) -> None:
    check(case, window_frames=10**6)


@pytest.mark.parametrize(("frames", "density"), [(3, 1.0), (5, 0.6), (4, 0.0)])
def test_windows_and_chunks(frames: int, density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WINDOW_SITES", 2 * 27 * 25 + 100)
    monkeypatch.setattr(module, "_BLOCK_CHUNKS", 2)  # several steps of each loop
    monkeypatch.setattr(module, "_BLOCK_WINDOWS", 1)
    assert chunks_of(27, 25) == 2
    assert CHUNK < 27 * 25
    check(make_case(frames, 1, 27, 25, density, torch.float32, padding=300), window_frames=2)


def test_of_no_frames_all_rows_are_padding() -> None:
    made = check(make_case(0, 1, 4, 4, 1.0, torch.float32, padding=3), window_frames=1)
    assert made.order.tolist() == [0, 1, 2]
    assert not made.numbers[:9].any()


def test_tiles_in_order_have_fewer_taps() -> None:
    """What the order is for, on the benchmark's masks; docs/gpu.md has figures of 512 frames."""
    from benchmarks.inputs import smooth_mask
    from benchmarks.shapes import Shape

    shape = Shape(1, 1, 12, 12)
    mask = smooth_mask(48, shape, 0.5, torch.Generator().manual_seed(3))
    x = SparseFeatureMaps.from_dense(torch.zeros(48, 1, 12, 12), mask)
    made = made_for(x)
    known = made.table >= 0

    def taps(known: torch.Tensor) -> float:
        return float(torch.stack([t.any(0).sum() for t in known.split(128)]).double().mean())

    assert taps(known) < 7.8
    assert taps(known[made.order.argsort()]) == 9  # where rows stand


def check_by_torch(frames: int, height: int, width: int, padding: int) -> None:
    """At sizes where dictionaries are slow: the same definitions in a few torch calls."""
    from benchmarks.floors.tile_order import CORNERS_FIRST, gray_key, neighbours_of

    mask = torch.rand(frames, height, width) < 0.6
    mask[1] = False
    rows = int(mask.sum())
    number = torch.full((frames, height + 2, width + 2), -1)
    number[:, 1:-1, 1:-1][mask] = torch.arange(rows)
    shifts = [number[:, o // 3 :, o % 3 :][:, :height, :width][mask] for o in range(9)]
    table = torch.stack(shifts, 1).int()
    offsets = torch.cat([torch.zeros(1), mask.sum((1, 2)).cumsum(0)]).int()
    sites = torch.cat([mask.flatten(1).nonzero()[:, 1], torch.full((padding,), 10**9)]).int()
    made = rules_of(sites.to(DEVICE), offsets.to(DEVICE), height, width)
    again = rules_of(sites.to(DEVICE), offsets.to(DEVICE), height, width)
    window = mask.nonzero()[:, 0] // max(1, module._WINDOW_SITES // (height * width))
    key = gray_key(neighbours_of(mask), CORNERS_FIRST)
    order = torch.argsort(window * 512 + key, stable=True)
    assert torch.equal(made.order[:rows].cpu().long(), order)
    assert torch.equal(made.order[rows:].cpu(), torch.arange(rows, rows + padding).int())
    assert torch.equal(made.table[:rows].cpu(), table[order])
    assert (made.table[rows:] == -1).all()
    for tap in range(9):
        has = (table[:, tap] >= 0).nonzero()[:, 0].int()
        assert int(made.numbers[tap]) == len(has)
        assert torch.equal(made.pairs[tap, : len(has)].cpu(), has)
        assert torch.equal(again.pairs[tap, : len(has)].cpu(), has)
    for one, other in zip(made, again, strict=True):
        if one is not made.pairs:  # what follows its numbers is nobody's
            assert torch.equal(one, other)


@pytest.mark.parametrize("size", [(9, 24, 24, 30), (40, 6, 6, 0)])
def test_equals_torch(size: tuple[int, int, int, int]) -> None:
    check_by_torch(*size)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "size", [(512, 24, 24, 9000), (512, 12, 12, 0), (2000, 6, 6, 77), (5, 200, 70, 3), (3, 1, 1, 4)]
)
def test_equals_torch_at_full_size(size: tuple[int, int, int, int]) -> None:
    check_by_torch(*size)
