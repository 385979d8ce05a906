"""Loudness over time, and pauses."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mesm.inputs.loudness import STEP, cut_at_pauses, loudness, pauses
from mesm.inputs.spectrograms import AudioError
from tests.mesm.corpora.tiny_media import write_video


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_the_power_of_each_step(tmp_path: Path, name: str) -> None:
    sound = np.concatenate([np.full(4000, 0.5), np.zeros(4000), np.full(4400, 0.05)])
    both = np.stack([sound, sound], 1)
    soundfile.write(tmp_path / name, both, 8000)
    found = loudness(tmp_path / name)
    assert found.dtype == np.float32
    assert len(found) == round(12400 / 8000 / STEP)
    np.testing.assert_allclose(found[:10], 20 * np.log10(0.5), atol=0.01)
    assert (found[10:20] <= -90).all()
    np.testing.assert_allclose(found[20:], 20 * np.log10(0.05), atol=0.05)


def test_sound_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="has no sound"):
        loudness(write_video(tmp_path / "a.mp4", seconds=1.0))
    (tmp_path / "b.wav").write_bytes(b"nothing")
    with pytest.raises(AudioError, match=r"b.wav"):
        loudness(tmp_path / "b.wav")


def decibels(*parts: tuple[float, float]) -> np.ndarray:
    """Seconds and their loudness."""
    return np.concatenate([np.full(round(s / STEP), level, np.float32) for s, level in parts])


def test_pauses_are_quiet_and_long_enough() -> None:
    heard = decibels((3, -20), (0.5, -60), (2, -25), (0.2, -60), (1, -20), (1, -55))
    assert [tuple(np.round(pause, 2)) for pause in pauses(heard)] == [(3, 3.5), (6.7, 7.7)]
    assert pauses(decibels((5, -30), (5, -33))) == []
    assert pauses(np.empty(0, np.float32)) == []


def test_pieces_follow_each_other() -> None:
    heard = decibels((1, -20), (0.4, -60), (5, -20), (0.4, -60), (30, -20), (0.4, -60), (3, -20))
    pieces = cut_at_pauses(0.5, 40.2, heard, 15.0)
    assert pieces[0][0] == 0.5
    assert pieces[-1][1] == 40.2
    assert all(one[1] == other[0] for one, other in itertools.pairwise(pieces))
    assert all(2.0 <= end - start <= 15.0 for start, end in pieces)
    # The pause at 1.2 s comes before the second second of the first piece.
    assert pieces[0][1] == pytest.approx(6.6)
    assert pieces[-1][0] == pytest.approx(37.0)


def test_the_quietest_moment_where_nothing_pauses() -> None:
    heard = decibels((12, -20), (0.1, -24), (20, -20))
    assert cut_at_pauses(0.0, 32.0, heard, 15.0)[0][1] == pytest.approx(12.025)
    silent = cut_at_pauses(0.0, 32.0, np.empty(0, np.float32), 15.0)
    assert silent == [(0.0, 15.0), (15.0, 30.0), (30.0, 32.0)]
    assert cut_at_pauses(0.0, 31.0, np.empty(0, np.float32), 15.0)[-1] == (29.0, 31.0)
