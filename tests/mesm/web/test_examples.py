"""Examples: of a folder, and of a miniature corpus, as videos that browsers play."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import pytest

from mesm import Pipeline
from mesm.corpora.miniature.generate import generate
from mesm.inference.loading import load_trained
from mesm.inference.recording import InputError
from mesm.web.examples import find_examples
from mesm.web.limits import Limits
from tests.mesm.inference.recordings import film


def test_of_a_folder(own_mesm: Path, recordings: Path, films: Path, tmp_path: Path) -> None:
    trained = load_trained(own_mesm, "cpu")
    assert find_examples(trained, None, tmp_path / "none") == []
    found = find_examples(trained, recordings, tmp_path / "made")
    assert [(one.text, one.label) for one in found] == [("so happy", "film0"), ("how sad", "film1")]
    assert found[0].file.read_bytes() == (films / "film0.mp4").read_bytes()
    assert not found[0].sound
    assert len(find_examples(trained, films, tmp_path / "many")) == 6
    big = tmp_path / "big"
    big.mkdir()
    with (big / "a.wav").open("wb") as file:
        file.truncate(2_000_000)
    assert find_examples(trained, big, tmp_path / "small", Limits(1)) == []
    (big / "b.wav").write_bytes(b"no sound")
    film(big / "c.mp4", 17, rate=2)
    assert find_examples(trained, big, tmp_path / "long", Limits(1, 0.2)) == []
    # Words of a recording of several pieces belong to it by their times alone.
    (big / "c.txt").write_text("too long for a text")
    (one,) = find_examples(trained, big, tmp_path / "told", Limits(1))
    assert (one.label, one.text, one.subtitles) == ("c", "", None)
    (big / "c.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nso happy\n")
    (one,) = find_examples(trained, big, tmp_path / "titled", Limits(1))
    assert one.text == ""
    assert one.subtitles == tmp_path / "titled" / "example-1.srt"
    assert one.subtitles.read_bytes() == (big / "c.srt").read_bytes()
    (big / "c.srt").write_text("no words with times")
    assert find_examples(trained, big, tmp_path / "bad", Limits(1)) == []
    with pytest.raises(InputError, match="is no folder"):
        find_examples(trained, recordings / "film0.mp4", tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no recording"):
        find_examples(trained, tmp_path / "empty", tmp_path / "other")


def test_the_demo_model_has_clips_drawn_for_it(tmp_path: Path) -> None:
    found = find_examples(load_trained("demo", "cpu"), None, tmp_path / "made")
    assert len(found) == 6
    assert len({one.label.split()[0] for one in found}) >= 5
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == sorted(
        one.file.name for one in found
    )


def test_of_a_miniature_corpus(own_mesm: Path, tmp_path: Path) -> None:
    generate(tmp_path / "raw", clips=6, seed=0, layout="iemocap")
    trained = load_trained(own_mesm, "cpu")
    names = ("angry", "excited", "frustrated", "happy", "neutral", "sad")
    learnt = replace(trained.preprocessing, corpus="iemocap", emotions=names, synthetic=True)
    found = find_examples(
        replace(trained, preprocessing=learnt), tmp_path / "raw", tmp_path / "made"
    )
    assert 1 <= len(found) <= 6
    one = found[0]
    assert one.text
    assert one.label.split()[0] in names
    with av.open(str(one.file)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.pix_fmt) == ("h264", "yuv420p")
        assert video.width < video.height  # the speaker's half alone
        assert audio.codec_context.name == "aac"
    (piece,) = Pipeline(trained)(one.file, text="so happy").pieces
    assert piece.faces >= 1
    assert piece.missing == ()
