"""Units drawn after measured ones."""

from __future__ import annotations

import pytest

from benchmarks.scaling.work import Rates, Spread, draw_units, quantiles

MEASURED = [{"clips": 4, "cpu_s": 1.0}, {"clips": 8, "cpu_s": 5.0}]
RATES = Rates(core_s=400.0, read=1e9, write=2e8)


def test_units_last_so_long_and_cost_so_much_together() -> None:
    units = draw_units(Spread.of(MEASURED), RATES, hours=10.0, minutes=5.0, seed=0)
    assert len(units) == 120
    assert sum(unit.size for unit in units) == pytest.approx(10)
    assert sum(unit.seconds for unit in units) == pytest.approx(4000)
    assert sum(unit.read for unit in units) == pytest.approx(1e10)
    assert sum(unit.write for unit in units) == pytest.approx(2e9)


def test_units_differ_as_the_measured_ones_do() -> None:
    units = draw_units(Spread.of(MEASURED), RATES, hours=100.0, minutes=5.0, seed=0)
    sizes, times = ({round(getattr(u, name), 9) for u in units} for name in ("size", "seconds"))
    assert len(sizes) == len(times) == 2
    assert max(sizes) / min(sizes) == pytest.approx(2)
    assert max(times) / min(times) == pytest.approx(5)
    # Large units are those that take long.
    assert max(units, key=lambda u: u.size).seconds == max(u.seconds for u in units)


def test_two_corpora_count_beside_their_own_means() -> None:
    twice = [{"clips": 2 * unit["clips"], "cpu_s": 2 * unit["cpu_s"]} for unit in MEASURED]
    assert Spread.of(MEASURED, twice).pairs == [*Spread.of(MEASURED).pairs] * 2


def test_lengths_can_be_more_uneven() -> None:
    even, uneven = (
        draw_units(Spread.of(MEASURED), RATES, 100.0, 5.0, seed=0, sigma=sigma)
        for sigma in (0.0, 1.0)
    )
    assert max(u.seconds for u in uneven) > 3 * max(u.seconds for u in even)
    assert sum(u.seconds for u in uneven) == pytest.approx(sum(u.seconds for u in even))


def test_no_hours_are_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0, got 0 and 5"):
        draw_units(Spread.of(MEASURED), RATES, hours=0, minutes=5, seed=0)


def test_the_middle_interval() -> None:
    assert quantiles(range(21)) == (1, 19)
    assert quantiles([3.0]) == (3.0, 3.0)
