import itertools

import pytest

from mesm.inputs.picture_times import mend_times


def mended(times, interval=1.0):
    found = list(mend_times(zip(times, range(len(times)), strict=True), interval))
    assert [picture for _, picture in found] == list(range(len(times)))
    given = [time for time, _ in found]
    assert all(early < late for early, late in itertools.pairwise(given))
    return given


@pytest.mark.parametrize("times", [[], [0.5], [0, 1, 2, 3, 4, 5, 6], [0, 0.1, 5, 5.01, 90, 91, 92]])
def test_rising_times_stay(times):
    assert mended(times) == times


def test_neighbours_out_of_order_are_dealt_out_in_order():
    # As decoded from a DivX AVI with packed B-frames, at 30 frames a second.
    packed = [n / 30 for n in (1, 3, 2, 5, 4, 7, 6, 9, 8, 10)]
    assert mended(packed, 1 / 30) == [n / 30 for n in range(1, 11)]


def test_no_time_and_the_same_time_twice_take_the_next_place():
    assert mended([None, None, 2, None]) == [0, 1, 2, 3]
    assert mended([0, 1, 1, 2, 3, 4, 5, 6, 7]) == [0, 1, 1.5, 2, 3, 4, 5, 6, 7]
    assert mended([0, 1, 1]) == [0, 1, 2]


def test_one_leap_ahead_costs_no_other_picture_its_time():
    assert mended([0, 1, 2, 900, 4, 5, 6, 7, 8, 9]) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_time_that_starts_anew_goes_on():
    assert mended([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]) == list(range(12))
