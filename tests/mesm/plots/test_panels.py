"""The drawn cells are the kept ones."""

import numpy as np
import pytest

from mesm.plots.panels import enlarge, kept_overlay, kept_share


def test_enlarge_repeats_cells() -> None:
    grid = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(enlarge(grid, 2, 4), [[1, 1, 2, 2], [3, 3, 4, 4]])


@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 4)])
def test_exactly_the_kept_cells_are_red(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).integers(0, 255, shape).astype(np.uint8)
    kept = np.array([[True, False], [False, True]])
    picture = kept_overlay(image, kept)
    red = picture[:, :, 0] > picture[:, :, 1] + 0.05
    np.testing.assert_array_equal(red, enlarge(kept, 4, 4))
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_the_share_is_said_in_whole_percent() -> None:
    assert kept_share(np.array([[True, False, False]])) == "33 % kept"
