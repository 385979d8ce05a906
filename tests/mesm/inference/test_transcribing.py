"""Words by a speech-recognition model: a tiny one with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mesm import Pipeline
from mesm.inference.recording import InputError
from mesm.inference.transcribing import Transcriber
from tests.mesm.inference.recordings import voice


def test_a_waveform_becomes_words(tiny_wav2vec2: Path) -> None:
    transcriber = Transcriber(tiny_wav2vec2)
    heard = voice(2.0)
    before = heard.copy()
    assert transcriber(heard) == "A"
    np.testing.assert_array_equal(heard, before)
    assert transcriber(heard[:100]) == ""


def test_pieces_without_words_are_given_some(
    own_mesm: Path, films: Path, tiny_wav2vec2: Path, tmp_path: Path
) -> None:
    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    transcriber = Transcriber(tiny_wav2vec2)
    (found,) = pipeline.stream(films / "film0.mp4", transcriber=transcriber)
    assert (found.text, found.missing) == ("A", ())
    assert [found] == list(pipeline(films / "film0.mp4", "A").pieces)
    table = tmp_path / "pieces.csv"
    table.write_text("start,end,text\n0,0.5,so happy\n0.5,1.5,\n")
    pieces = pipeline.stream(films / "film0.mp4", segments=table, transcriber=transcriber)
    assert [piece.text for piece in pieces] == ["so happy", "A"]


def test_folders_that_hold_no_such_model(tmp_path: Path, tiny_wav2vec2: Path) -> None:
    with pytest.raises(InputError, match=r"none is not there; wanted the folder of a speech"):
        Transcriber(tmp_path / "none")
    with pytest.raises(InputError, match=r"has no config.json"):
        Transcriber(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        Transcriber(tmp_path)
