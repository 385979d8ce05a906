from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F

from benchmarks.measure import (
    LATE_ROUNDS,
    MAX_ROUNDS,
    MIN_ROUNDS,
    Clock,
    compare,
    count_flops,
    host_us,
    in_turns,
    median_ms,
    peak_memory,
    replayable,
    rounds_within,
)


def test_compare_by_hand() -> None:
    found = compare([0.010, 0.010, 0.020], [0.030, 0.030, 0.030])
    assert found["ms"] == pytest.approx(10)
    assert found["rival_ms"] == pytest.approx(30)
    assert found["ratio"] == pytest.approx(3)
    assert found["ratio_quartiles"] == pytest.approx([1.5, 3])
    assert found["rival_spread"] == pytest.approx(0)
    assert found["rounds"] == 3


def test_clock_keeps_the_budget() -> None:
    assert Clock(budget=100, row_seconds=1.0).rounds(0.05) == 20
    assert Clock(budget=100, row_seconds=1.0).rounds(0.05, weight=2) == 40
    assert Clock(budget=100, row_seconds=1.0).rounds(10.0) == MIN_ROUNDS
    assert Clock(budget=100, row_seconds=1.0).rounds(1e-6) == MAX_ROUNDS
    assert Clock(budget=0, row_seconds=1.0).rounds(0.01) == LATE_ROUNDS


def test_a_dense_convolution_has_two_flops_per_multiply_accumulate() -> None:
    maps, weight = torch.ones(2, 3, 8, 8), torch.ones(5, 3, 3, 3)
    assert count_flops(lambda: F.conv2d(maps, weight, padding=1)) == 2 * 2 * 64 * 9 * 3 * 5


def test_peak_memory_sees_what_a_run_touches_and_frees() -> None:
    peak = peak_memory(lambda: torch.ones(64 * 2**18).sum())
    if sys.platform == "linux":
        assert peak is not None
        assert 60 < peak < 90
    else:
        assert peak is None


def test_rounds_fill_the_seconds() -> None:
    assert rounds_within(1.0)(0.01) == 100
    assert rounds_within(1.0)(10.0) == 2 * MIN_ROUNDS
    assert rounds_within(1.0)(0.0) == MAX_ROUNDS
    assert rounds_within(0.0, fewest=3)(1.0) == 3


def test_rounds_time_every_side_in_turn() -> None:
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    given: list[float] = []

    def rounds(seconds: float) -> int:
        given.append(seconds)
        return 4

    times = in_turns(runs, "cpu", rounds)
    assert len(times["a"]) == len(times["b"]) == 4
    assert order == ["a", "b"] * (2 + 4)  # two to warm up
    assert given[0] > 0


def test_on_a_cpu_a_run_is_its_own_replay() -> None:
    ran: list[int] = []
    run, how = replayable(lambda: ran.append(1), "cpu")
    assert (ran, how) == ([1], "call")
    assert median_ms(run, "cpu", 0.0) > 0
    assert host_us(run, "cpu") > 0
