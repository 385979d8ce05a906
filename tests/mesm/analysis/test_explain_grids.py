"""The contents of the grids: a face unchanged, and the middle of a spectrogram."""

from pathlib import Path

import numpy as np

from mesm.analysis.explain_grids import Grids
from mesm.plots.panels import Row


def sound(chunks: int, regions: list[list[float]]) -> Row:
    """A spectrogram whose value, in every column, is the number of its chunk."""
    numbers = np.repeat(np.arange(chunks, dtype=np.float32), 32)
    image = np.tile(numbers, (128, 1))
    blocks = [np.tile(numbers[::cell], (128 // cell, 1)) for cell in (2, 4, 8)]
    kept = [block % 2 == 0 for block in blocks]
    return Row(image, blocks, kept, np.array(regions, dtype=float).reshape(-1, 4), "")


def test_a_long_clip_is_shown_in_its_middle() -> None:
    grids = Grids()
    # Chunks 3 to 8 of 11: columns 96 to 256.
    grids.add_sound(sound(11, [[90, 0, 100, 8], [0, 0, 90, 8], [300, 0, 310, 8]]), "sad", 345)
    (row,) = grids.sounds
    assert row.label == "sad"
    assert np.unique(row.image).tolist() == [3, 4, 5, 6, 7]
    for cell, weights, kept in zip((2, 4, 8), row.attention, row.kept, strict=True):
        assert weights.shape == kept.shape == (128 // cell, 160 // cell)
        assert np.unique(weights).tolist() == [3, 4, 5, 6, 7]
        np.testing.assert_array_equal(kept, weights % 2 == 0)
    np.testing.assert_array_equal(row.regions, [[0, 0, 4, 8]])
    assert grids.columns == [160]


def test_a_short_clip_is_shown_whole_but_for_its_padding() -> None:
    grids = Grids()
    grids.add_sound(sound(3, []), "sad", 70)
    assert grids.sounds[0].image.shape == (128, 96)
    assert grids.columns == [70]


def test_only_grids_with_rows_are_written(tmp_path: Path) -> None:
    grids = Grids()
    assert grids.draw(tmp_path, 0.5) == []
    grids.add_sound(sound(2, []), "sad", 64)
    names = [path.name for path in grids.draw(tmp_path, [0.7, 0.5, 0.5])]
    assert names == ["spectrograms_loudest.png", "spectrograms.png"]
    face = Row(
        np.zeros((48, 48, 3), np.uint8),
        [np.ones((24, 24), np.float32)],
        [np.ones((24, 24), bool)],
        np.zeros((0, 4)),
        "1.0 s",
    )
    grids.add_face(face, "happy")
    assert grids.faces[0].label == "happy"
    assert grids.draw(tmp_path, 0.5)[0] == tmp_path / "faces.png"
