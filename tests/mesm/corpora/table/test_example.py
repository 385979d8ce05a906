"""The example: the same table every time, whose films can be read as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from mesm.corpora.table.example import HEADER, join, write_example
from mesm.inputs.video import read_spans
from mesm.inputs.waveforms import read_waveform
from tests.mesm.corpora.table.conftest import write_film


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="there is not empty; name a new folder"):
        write_example(tmp_path / "there")
    with pytest.raises(ValueError, match=r"note\.txt is a file; name a folder"):
        write_example(tmp_path / "there" / "note.txt")
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "note.txt"]


def test_a_sound_is_joined_to_a_film_where_it_was(tmp_path: Path) -> None:
    write_film(tmp_path / "mute.mp4", 2, None)
    time = np.arange(32000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 300 * time * (1 + 0.3 * time))
    soundfile.write(tmp_path / "a.wav", tone, 16000)
    join(tmp_path / "mute.mp4", tmp_path / "a.wav", tmp_path / "whole.mp4")
    spans = read_spans(tmp_path / "whole.mp4")
    assert spans.pictures is not None
    assert spans.pictures.end == pytest.approx(2, abs=0.05)
    heard = read_waveform(tmp_path / "whole.mp4", 0.5, 1.5)
    wanted = tone[8000:24000]
    # A shift of a quarter of a millisecond would turn the fastest tone by a quarter.
    assert np.corrcoef(heard, wanted)[0, 1] > 0.99


def test_its_header_has_columns_of_tables() -> None:
    from mesm.corpora.table.formats import COLUMNS

    assert set(HEADER) <= set(COLUMNS)
