"""Hit rates on masks whose answer is known."""

import numpy as np
import pytest

from mesm.analysis.hit_rates import Tally


def planted_corner(size: int = 8, side: int = 4) -> np.ndarray:
    covered = np.zeros((size, size))
    covered[:side, :side] = 1
    return covered


def test_uniform_choice_has_ratio_one() -> None:
    generator = np.random.default_rng(0)
    tally = Tally()
    for frame in range(600):
        kept = np.zeros(64, dtype=bool)
        kept[generator.permutation(64)[:16]] = True
        tally.add(f"clip{frame % 60}", kept.reshape(8, 8), planted_corner())
    sites = tally.summary()["sites"]
    assert sites["chance"] == pytest.approx(0.25)
    assert sites["ratio"] == pytest.approx(1, abs=0.05)
    assert sites["interval"][0] < 1 < sites["interval"][1]


def test_perfect_choice_has_ratio_one_over_chance() -> None:
    covered = planted_corner()
    tally = Tally()
    for clip in "abc":
        tally.add(clip, covered > 0, covered)
    summary = tally.summary()
    assert summary["sites"] == {
        "hit": 1.0,
        "chance": 0.25,
        "ratio": 4.0,
        "interval": [4.0, 4.0],
    }
    assert (summary["clips"], summary["frames"], summary["kept_sites"]) == (3, 3, 48)


def test_chance_is_weighted_by_what_each_frame_keeps() -> None:
    tally = Tally()
    large, small = planted_corner(4, 4), planted_corner(4, 1)
    one = np.zeros((4, 4), dtype=bool)
    one[3, 3] = True
    tally.add("a", np.ones((4, 4), dtype=bool), large)
    tally.add("b", one, small)
    sites = tally.summary()["sites"]
    assert sites["hit"] == pytest.approx(16 / 17)
    assert sites["chance"] == pytest.approx((16 * 1 + 1 / 16) / 17)


def test_frame_without_planted_region_is_left_out() -> None:
    tally = Tally()
    tally.add("a", np.ones((4, 4), dtype=bool), np.zeros((4, 4)))
    assert tally.summary() == {"clips": 0, "frames": 0, "kept_sites": 0}


def test_candidates_and_mass() -> None:
    covered = planted_corner(4, 2)
    candidates = np.zeros((4, 4), dtype=bool)
    candidates[:2] = True
    attention = np.where(candidates, 1 / 8, 0.0)
    tally = Tally()
    tally.add("a", candidates & (covered > 0), covered, candidates, attention)
    summary = tally.summary()
    assert summary["among_candidates"]["chance"] == pytest.approx(0.5)
    assert summary["by_attention_mass"]["hit"] == pytest.approx(0.5)
    assert summary["by_attention_mass"]["chance"] == pytest.approx(0.25)
    assert summary["by_attention_mass_among_candidates"]["ratio"] == pytest.approx(1)


def test_partly_covered_cell_hits_but_counts_by_its_area() -> None:
    covered = np.zeros((2, 2))
    covered[0, 0] = 0.25
    kept = np.array([[True, False], [False, False]])
    tally = Tally()
    tally.add("a", kept, covered)
    summary = tally.summary()
    assert summary["sites"]["hit"] == 1
    assert summary["by_area"]["hit"] == pytest.approx(0.25)
    assert summary["by_area"]["chance"] == pytest.approx(0.0625)


def test_padding_is_no_chance() -> None:
    covered = planted_corner(4, 2)
    real = np.zeros((4, 4), dtype=bool)
    real[:, :2] = True
    tally = Tally()
    tally.add("a", np.ones((4, 4), dtype=bool), covered, real=real)
    sites = tally.summary()["sites"]
    assert sites["hit"] == pytest.approx(4 / 16)
    assert sites["chance"] == pytest.approx(0.5)


def test_fixed_habit_hits_no_more_than_the_other_clips_sites() -> None:
    generator = np.random.default_rng(1)
    habit = planted_corner(6, 3) > 0
    tally = Tally()
    for clip in range(20):
        covered = np.roll(planted_corner(6, 3), generator.integers(0, 3), axis=1)
        tally.add(str(clip), habit, covered)
    summary = tally.summary()
    assert summary["sites"]["ratio"] > 1.5
    assert summary["other_clips_sites"]["ratio"] == pytest.approx(1)


def test_same_seed_same_interval() -> None:
    generator = np.random.default_rng(2)
    tally = Tally()
    for clip in range(10):
        tally.add(str(clip), generator.random((6, 6)) < 0.4, planted_corner(6, 3))
    assert tally.summary(seed=3) == tally.summary(seed=3)
