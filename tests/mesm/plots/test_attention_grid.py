"""Every panel of the grid shows what its head says."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mesm.plots.attention_grid import draw_grid, loudest, surviving
from mesm.plots.panels import Row, enlarge


def grid_row(label: str, width: int = 48, sound: bool = False) -> Row:
    generator = np.random.default_rng(len(label))
    shape = (48, width) if sound else (48, width, 3)
    image = generator.integers(60, 200, shape)
    kept = [generator.random((48 // cell, width // cell)) < 0.5 for cell in (2, 4, 8)]
    attention = [grid.astype(np.float32) for grid in kept]
    image = image.astype(np.float32 if sound else np.uint8)
    return Row(image, attention, kept, np.array([[8.0, 4.0, 40.0, 12.0]]), label)


def pictures(figure: Figure) -> list[np.ndarray]:
    (axes,) = figure.axes
    return [np.asarray(image.get_array()) for image in axes.images]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def red(picture: np.ndarray) -> np.ndarray:
    return picture[:, :, 0] > picture[:, :, 1] + 0.05


def test_a_pixel_survives_where_all_three_blocks_kept_its_site() -> None:
    row = grid_row("one")
    found = surviving(row)
    for y in range(48):
        for x in range(48):
            sites = [row.kept[b][y // cell, x // cell] for b, cell in enumerate((2, 4, 8))]
            assert found[y, x] == all(sites)


def test_a_line_is_input_three_blocks_and_the_survivors() -> None:
    rows = [grid_row("angry"), grid_row("sad")]
    figure = draw_grid(rows, "Faces, p = 0.5")
    drawn = pictures(figure)
    assert len(drawn) == 2 * 5
    for line, row in enumerate(rows):
        first, *others = drawn[5 * line : 5 * line + 5]
        np.testing.assert_array_equal(first, row.image)
        for picture, kept in zip(others, [*row.kept, surviving(row)], strict=True):
            np.testing.assert_array_equal(red(picture), enlarge(kept, 48, 48))
    said = texts(figure)
    for text in ("Faces, p = 0.5", "angry", "sad", "kept by block 3", "kept by all"):
        assert text in said
    assert f"{100 * surviving(rows[1]).mean():.0f} % kept" in said
    assert len([patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]) == 10


def test_spectrograms_stand_upright_and_end_where_they_end() -> None:
    row = grid_row("happy", width=64, sound=True)
    row.image[:4] = 400.0
    figure = draw_grid([row], "Sound", columns=[50], note="low below")
    first, *others = pictures(figure)
    assert first.shape == (48, 50, 3)
    # Loud low bins: bright at the bottom.
    assert first[-4:].mean() > first[:-4].mean() + 0.1
    for picture, kept in zip(others, [*row.kept, surviving(row)], strict=True):
        np.testing.assert_array_equal(red(picture), enlarge(kept, 48, 64)[::-1, :50])
    assert "low below" in texts(figure)
    share = enlarge(row.kept[0], 48, 64)[:, :50].mean()
    assert f"{100 * share:.0f} % kept" in texts(figure)
    image = figure.axes[0].images[0].get_extent()
    box = figure.axes[0].patches[0]
    assert isinstance(box, Rectangle)
    # Bins 4 to 12 from below, columns 8 to 40.
    assert box.get_x() - image[0] == pytest.approx(8)
    assert max(image[2:]) - box.get_y() == pytest.approx(12)
    assert (box.get_width(), box.get_height()) == pytest.approx((32, 8))


def test_every_grid_is_as_wide_as_a_page() -> None:
    for rows in ([grid_row("a")], [grid_row("a", 160, sound=True)] * 2):
        assert draw_grid(rows, "title").get_figwidth() == pytest.approx(7.2, abs=0.1)


def test_the_loudest_tenth_stays() -> None:
    image = np.arange(100, dtype=np.float32).reshape(10, 10)
    found = loudest(image, 0.1)
    assert (found > found.min()).sum() == 10
    np.testing.assert_array_equal(found[-1], image[-1])
    padded = np.concatenate([image, np.full((10, 5), np.nan, np.float32)], 1)
    np.testing.assert_array_equal(loudest(padded, 0.1)[:, :10], found)
    assert np.isnan(loudest(padded, 0.1)[:, 10:]).all()
