"""How steps are shared among programs; each step of each unit must be taken exactly once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.mesm_ops.triton import gluon_emulator as emulator
from tests.mesm_ops.triton.gluon_values import Pointer, values

tiles = emulator.load("tiles")


@pytest.mark.parametrize("mask", [0b000010000, 0b111111111, 0b100010001, 0b010110000])
def test_taps_of(mask: int) -> None:
    word = int(tiles.taps_of(values(np.int64(mask))))
    taps = [tap for tap in range(9) if mask >> tap & 1]
    assert word & 15 == len(taps)
    assert [word >> (4 * (i + 1)) & 15 for i in range(len(taps))] == taps


@pytest.mark.parametrize("programs", [1, 2, 7, 40, 264, 1000])
@pytest.mark.parametrize("units", [1, 3, 16])
@pytest.mark.parametrize("counts", [[0] * 4 + [1] + [0] * 4, [3, 5, 2, 0, 9, 5, 0, 4, 1], [70] * 9])
def test_every_step_is_taken_once(programs: int, units: int, counts: list[int]) -> None:
    parts = 2
    at_counts = Pointer(np.array(counts, np.int32))
    taken: dict[tuple[int, int], list[int]] = {}
    lengths = []
    for number in range(programs):
        first, last, steps, sharing = tiles.steps_of_program(
            at_counts, number, programs, parts, units
        )
        assert int(steps) == sum(counts) * parts * units
        lengths.append(int(last - first))
        at = first
        while at < last:
            tap, unit, begin, each = tiles.unit_of(at_counts, at, parts, units)
            base, stride, turn, extra = tiles.step_of(number, sharing, steps, begin, each, at)
            length = int(np.minimum(begin + each, last) - at)
            steps_of_unit = taken.setdefault((int(tap), int(unit)), [])
            for i in range(length):
                steps_of_unit.append(int(base + i * stride) if i < int(turn) else int(extra))
            at = at + length
    assert max(lengths) - min(lengths) <= 1
    for tap, count in enumerate(counts):
        for unit in range(units):
            assert sorted(taken.get((tap, unit), [])) == list(range(count * parts))


def test_programs_go_through_a_unit_side_by_side() -> None:
    """At every time, the programs inside a unit are at steps that lie together."""
    counts = Pointer(np.array([70] * 9, np.int32))
    at_first = []
    for program in range(1, 29):  # of 264: inside the first unit as a whole
        first, _, steps, _ = tiles.steps_of_program(counts, program, 264, 2, 1)
        _, _, begin, each = tiles.unit_of(counts, first, 2, 1)
        base, stride, _, _ = tiles.step_of(program, 264, steps, begin, each, first)
        at_first.append(int(base))
        assert int(stride) == 29
    assert at_first == list(range(1, 29))
