"""Rows of pictures: which face, which chunk and which site stands where."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from mesm.analysis.attention_rows import face_row, shorten, shown_faces, spectrogram_row
from mesm.analysis.attention_trace import BlockAttention
from mesm.analysis.planted import no_regions
from mesm.inputs.spectrograms import CHUNK_COLUMNS, MEL_BINS


@dataclass
class Clip:
    """A clip that begins at 10 s, of three faces and 70 columns of sound."""

    start: float = 10.0
    faces: NDArray[np.uint8] = field(
        default_factory=lambda: (
            np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 48, 48, 3), np.uint8)
        )
    )
    face_found: NDArray[np.bool_] = field(default_factory=lambda: np.array([True, True, False]))
    face_times: NDArray[np.float64] = field(default_factory=lambda: np.array([10.0, 10.5, 11.0]))
    spectrogram: NDArray[np.float32] = field(
        default_factory=lambda: np.random.default_rng(0).normal(size=(MEL_BINS, 70)).astype("f4")
    )


def blocks(frames: int, *sides: tuple[int, int]) -> list[BlockAttention]:
    """Blocks over frames, whose values name frame, row and column."""
    found = []
    for height, width in sides:
        values = np.arange(frames * height * width, dtype=np.float32)
        attention = values.reshape(frames, height, width)
        kept = attention % 3 == 0
        found.append(BlockAttention(np.ones_like(kept), attention, kept))
    return found


def test_a_face_has_its_own_grids_and_the_seconds_from_its_clips_start() -> None:
    clip, traced = Clip(), blocks(3, (24, 24), (12, 12), (6, 6))
    regions = np.array([[1.0, 2.0, 3.0, 4.0]])
    row = face_row(clip, traced, 1, regions)
    assert np.array_equal(row.image, clip.faces[1])
    assert [grid.shape for grid in row.kept] == [(24, 24), (12, 12), (6, 6)]
    for block, attention, kept in zip(traced, row.attention, row.kept, strict=True):
        assert np.array_equal(attention, block.attention[1])
        assert np.array_equal(kept, block.kept[1])
    assert row.regions is regions
    assert row.label == "0.5 s"


def test_the_centre_of_a_frame_is_no_face() -> None:
    row = face_row(Clip(), blocks(3, (24, 24)), 2, no_regions())
    assert row.label == "1.0 s\nno face found"
    assert row.regions.shape == (0, 4)


def test_chunks_stand_side_by_side_and_what_fills_the_last_is_no_sound() -> None:
    clip = Clip()
    chunks = -(-70 // CHUNK_COLUMNS)
    traced = blocks(chunks, (32, 8), (16, 4))
    row = spectrogram_row(clip, traced, no_regions(), "a title")
    assert row.image.shape == (MEL_BINS, chunks * CHUNK_COLUMNS)
    assert np.array_equal(row.image[:, :70], clip.spectrogram)
    assert bool(np.isnan(np.asarray(row.image[:, 70:], np.float32)).all())
    assert row.label == "a title"
    for block, attention, kept in zip(traced, row.attention, row.kept, strict=True):
        height, width = block.kept.shape[1:]
        assert kept.shape == attention.shape == (height, chunks * width)
        for chunk in range(chunks):
            part = slice(chunk * width, (chunk + 1) * width)
            assert np.array_equal(attention[:, part], block.attention[chunk])
            assert np.array_equal(kept[:, part], block.kept[chunk])


def test_a_sound_of_whole_chunks_is_not_filled() -> None:
    clip = Clip(spectrogram=np.zeros((MEL_BINS, 2 * CHUNK_COLUMNS), np.float32))
    row = spectrogram_row(clip, blocks(2, (32, 8)), no_regions(), "")
    assert row.image.shape == (MEL_BINS, 2 * CHUNK_COLUMNS)
    assert not np.isnan(np.asarray(row.image, np.float32)).any()


@pytest.mark.parametrize(
    ("count", "most", "wanted"),
    [
        (1, 8, [0]),
        (3, 8, [0, 1, 2]),
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (9, 3, [0, 4, 8]),
        (240, 5, [0, 60, 120, 179, 239]),
    ],
)
def test_faces_are_shown_evenly_from_the_first_to_the_last(
    count: int, most: int, wanted: list[int]
) -> None:
    assert shown_faces(count, most) == wanted


def test_a_text_that_is_too_long_ends_in_dots() -> None:
    assert shorten("short", 5) == "short"
    assert shorten("a" * 91) == "a" * 89 + "…"
    # No blank stands before the dots.
    assert shorten("one two three", 8) == "one two…"
    assert shorten("one two three", 9) == "one two…"
