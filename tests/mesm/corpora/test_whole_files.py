"""How long clips last that have their files to themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mesm.corpora.shortfalls import Shortfall
from mesm.corpora.utterances import RawCorpus
from mesm.corpora.whole_files import measure, measure_all
from mesm.inputs.sound_parts import Stretch
from mesm.inputs.video import Span, Spans, read_spans
from tests.mesm.corpora.damages import POINTER
from tests.mesm.corpora.tiny_media import video_bytes, write_sound, write_video


def test_what_sound_and_pictures_share(tmp_path: Path) -> None:
    both = write_video(tmp_path / "both.mp4", seconds=2.0, sound=1.5)
    start, end = measure(both, both)
    assert (start, end) == (0.0, pytest.approx(1.5, abs=0.1))
    mute = write_video(tmp_path / "mute.mp4", seconds=2.0)
    assert measure(mute, mute) == Stretch(0.0, 2.0)
    assert measure(None, both) == Stretch(0.0, 2.0)
    sound = write_sound(tmp_path / "a.wav", 1.25)
    assert measure(sound, None) == Stretch(0.0, 1.25)
    assert measure(sound, mute) == Stretch(0.0, 1.25)


def test_a_format_that_tells_only_the_files_length(tmp_path: Path) -> None:
    file = write_video(
        tmp_path / "a.flv", seconds=2.0, form="flv", picture_codec="flv1", sound=2.0, codec="aac"
    )
    spans = read_spans(file)
    assert spans.pictures is not None
    assert spans.pictures.end is None
    start, end = measure(file, file)
    assert (start, end) == (0.0, pytest.approx(2.0, abs=0.15))


def test_pictures_that_begin_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_video(tmp_path / "a.mp4", sound=1.0)
    for late, start in ((0.2, 0.0), (1.5, 1.5)):
        late_spans = Spans(Span(0.0, 4.0), Span(late, 4.5), 4.5)
        monkeypatch.setattr("mesm.corpora.whole_files.read_spans", lambda _, it=late_spans: it)
        assert measure(file, file) == Stretch(start, 4.0)
        monkeypatch.undo()


def test_a_length_that_is_not_told_is_that_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sound = write_video(tmp_path / "a.mp4"), write_sound(tmp_path / "a.wav", 1.25)
    for pictures, end in ((Span(0.0, None), None), (Span(0.0, 0.0), 0.0)):
        told = Spans(None, pictures, end)
        monkeypatch.setattr("mesm.corpora.whole_files.read_spans", lambda _, it=told: it)
        assert measure(sound, file) == Stretch(0.0, 1.25)
        assert measure(file, file) == Shortfall("no length in its header", file)


def test_why_a_clip_cannot_be_used(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    pointer = tmp_path / "pointer.mp4"
    pointer.write_text(POINTER)
    heard = tmp_path / "heard.mp4"
    heard.write_bytes(video_bytes(seconds=0.0, sound=1.0))
    wav, mute = tmp_path / "text.wav", write_video(tmp_path / "mute.mp4", seconds=4.0)
    wav.write_text("no sound")
    os.mkfifo(tmp_path / "pipe.mp4")
    short = write_sound(tmp_path / "short.wav", 1.0)
    empty = write_sound(tmp_path / "empty.wav", 0.0)
    gone = tmp_path / "gone"
    reasons = {
        measure(*clip)[:2]
        for clip in (
            *((text, text), (pointer, pointer), (heard, heard), (wav, mute), (wav, None)),
            *((short, mute), (empty, None), (gone, mute), (gone, gone)),
            *((None, tmp_path / "pipe.mp4"), (None, tmp_path)),
        )
    }
    assert reasons == {
        ("unreadable video", text),
        ("Git LFS pointer", pointer),
        ("unreadable video", heard),
        ("unreadable sound", wav),
        ("sound and pictures are not of one length", mute),
        ("no length in its header", empty),
        ("no sound file", gone),
        ("no video file", gone),
        ("no video file", tmp_path / "pipe.mp4"),
        ("no video file", tmp_path),
    }
    shown = measure(short, mute)
    assert isinstance(shown, Shortfall)
    assert shown.detail == "0.00 s to 4.00 s, 0.00 s to 1.00 s"


def test_clips_that_cannot_be_used_are_noted_by_the_corpus_folder(tmp_path: Path) -> None:
    corpus = RawCorpus("meld", tmp_path)
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    mute = write_video(tmp_path / "mute.mp4")
    assert measure_all(corpus, [("a", text, text), ("b", mute, mute)]) == [None, Stretch(0, 1)]
    (skipped,) = corpus.skipped
    assert (skipped.clip_id, skipped.reason, skipped.file) == ("a", "unreadable video", "text.mp4")
    assert skipped.detail.startswith("text.mp4 cannot be opened as a video")


def test_sound_that_begins_late_is_silence_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_video(tmp_path / "a.mp4", sound=1.0)
    told = Spans(Span(1.5, 4.0), Span(0.0, 4.5), 4.5)
    monkeypatch.setattr("mesm.corpora.whole_files.read_spans", lambda _: told)
    assert measure(file, file) == Stretch(0.0, 4.0)
