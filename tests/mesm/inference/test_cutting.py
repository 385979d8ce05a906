"""Where recordings are cut, and which words go with which piece."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mesm.corpora.table.problems import TableError
from mesm.inference.cutting import LONGEST_TEXT, Span, Words, cut
from mesm.inference.recording import InputError, open_recording
from tests.mesm.inference.recordings import RATE, voice


@pytest.fixture
def long_sound(tmp_path: Path) -> Path:
    """Forty seconds with pauses about 6, 12 and 20 s, none after."""
    import soundfile

    silent = [(5.8, 6.2), (11.7, 12.3), (19.9, 20.5)]
    soundfile.write(tmp_path / "talk.wav", voice(40, silent=silent), RATE)
    return tmp_path / "talk.wav"


@pytest.fixture
def short_sound(tmp_path: Path) -> Path:
    import soundfile

    soundfile.write(tmp_path / "word.wav", voice(4), RATE)
    return tmp_path / "word.wav"


def srt(file: Path, *cues: tuple[float, float, str]) -> Path:
    def clock(seconds: float) -> str:
        return f"00:00:{seconds:06.3f}".replace(".", ",")

    file.write_text("\n".join(f"{clock(a)} --> {clock(b)}\n{text}\n" for a, b, text in cues))
    return file


def test_a_short_recording_is_one_piece(short_sound: Path) -> None:
    recording = open_recording(short_sound)
    assert cut(recording, Words()) == [Span(0.0, 4.0)]
    assert cut(recording, Words("hello")) == [Span(0.0, 4.0, "hello")]
    srt(short_sound.with_suffix(".srt"), (0.5, 1.5, "one"), (2, 3, "two"), (5, 6, "late"))
    assert cut(recording, Words()) == [Span(0.0, 4.0, "one two")]
    assert cut(recording, Words("hello")) == [Span(0.0, 4.0, "hello")]
    assert cut(recording, Words(unaided=True)) == [Span(0.0, 4.0)]


def test_a_long_one_is_cut_at_pauses(long_sound: Path) -> None:
    spans = cut(open_recording(long_sound), Words())
    assert spans[0].start == 0.0
    assert spans[-1].end == 40.0
    assert all(one.end == other.start for one, other in itertools.pairwise(spans))
    assert max(span.end - span.start for span in spans) <= 15.0
    assert [round(span.end, 1) for span in spans[:3]] == pytest.approx([6.0, 12.0, 20.2], abs=0.1)
    with pytest.raises(InputError, match=r"lasts 40.0 s, and a text belongs to one piece"):
        cut(open_recording(long_sound), Words("much"))


def test_a_long_one_is_cut_by_its_subtitles(long_sound: Path, tmp_path: Path) -> None:
    words = [(1, 3, "one"), (2, 5, "two"), (6, 39, "a b c d e f"), (39, 45, "end"), (50, 51, "x")]
    given = srt(tmp_path / "other.srt", *words)
    spans = cut(open_recording(long_sound), Words(subtitles=given))
    assert spans == [
        Span(1, 3, "one"),
        Span(2, 5, "two"),
        Span(6, 17, "a b"),
        Span(17, 28, "c d"),
        Span(28, 39, "e f"),
        Span(39, 40, "end"),
    ]
    srt(long_sound.with_suffix(".vtt"), (7, 8, "beside"))
    assert cut(open_recording(long_sound), Words()) == [Span(7, 8, "beside")]
    late = srt(tmp_path / "late.srt", (50, 51, "x"))
    with pytest.raises(InputError, match=r"no subtitle lies there: the first begins at 50.00 s"):
        cut(open_recording(long_sound), Words(subtitles=late))


def test_segments_are_taken_as_they_are(long_sound: Path, tmp_path: Path) -> None:
    table = tmp_path / "pieces.csv"
    table.write_text("start;end;text\n20;40;long\n0:00:01.5;2.5;\n")
    recording = open_recording(long_sound)
    assert cut(recording, Words(segments=table)) == [Span(1.5, 2.5), Span(20, 40, "long")]
    # Without texts of their own, segments have those of the subtitles.
    table.write_text("start,end\n1,4\n")
    subtitles = srt(tmp_path / "x.srt", (1, 2, "one"), (3, 4, "two"), (5, 6, "three"))
    words = Words(segments=table, subtitles=subtitles)
    assert cut(recording, words) == [Span(1, 4, "one two")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("start,end\n2,1\n", "line 2, column end: 1 s is not after its start, 2 s"),
        ("start,end\n0,x\n", "line 2, column end: wanted seconds"),
        ("start,end\n0,\n", "line 2, column end: it is empty"),
        ("start,end\n39,41\n", "talk.wav ends at 40.00 s, the segment goes from 39 s to 41 s"),
        ("start,stop\n1,2\n", "line 1, column end: there is no such column"),
        (f"start,end,text\n1,2,{'x' * (LONGEST_TEXT + 1)}\n", "column text: it has 10001 letters"),
        ("start,end\n", "it has no clip"),
    ],
)
def test_segments_that_are_wrong_name_their_line(
    long_sound: Path, tmp_path: Path, content: str, message: str
) -> None:
    table = tmp_path / "pieces.csv"
    table.write_text(content)
    with pytest.raises(TableError, match=message):
        cut(open_recording(long_sound), Words(segments=table))


def test_of_a_corpus_table_the_lines_about_the_recording_count(
    long_sound: Path, tmp_path: Path
) -> None:
    recording, table = open_recording(long_sound), tmp_path / "deep/clips.csv"
    table.parent.mkdir()
    here = f"../{long_sound.name}"
    lines = ["video,audio,start,end,text", "a.mp4,,1,2,no", f"b.mp4,{here},4,5,second"]
    table.write_text("\n".join([*lines, f",{here},2,3,first", "c.mp4,,2,3,no"]) + "\n")
    assert cut(recording, Words(segments=table)) == [Span(2, 3, "first"), Span(4, 5, "second")]
    table.write_text("\n".join(lines[:2]) + "\n")
    wanted = f"no line is about {long_sound}; the first video named there is a.mp4"
    with pytest.raises(InputError, match=re.escape(wanted)):
        cut(recording, Words(segments=table))


def test_what_contradicts_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave --subtitles and --segments out"):
        Words("text", subtitles=tmp_path / "x.srt")
    with pytest.raises(InputError, match=r"10001 letters, wanted at most 10000"):
        Words("x" * (LONGEST_TEXT + 1))


def test_even_loudness_has_no_pauses(tmp_path: Path) -> None:
    import soundfile

    noise = np.random.default_rng(0).standard_normal(32 * RATE) * 0.1
    soundfile.write(tmp_path / "noise.wav", noise, RATE)
    spans = cut(open_recording(tmp_path / "noise.wav"), Words())
    assert 3 <= len(spans) <= 5
    assert all(2.0 <= span.end - span.start <= 15.0 for span in spans)


def test_subtitles_beside_are_found_in_capitals(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "LOUD.WAV", voice(2.0), RATE)
    srt(tmp_path / "LOUD.SRT", (0.2, 1.0, "Hello."))
    srt(tmp_path / "LOUDER.srt", (0.2, 1.0, "No."))
    assert cut(open_recording(tmp_path / "LOUD.WAV"), Words()) == [Span(0.0, 2.0, "Hello.")]


def test_too_many_pieces_at_once_are_refused(long_sound: Path, tmp_path: Path) -> None:
    cues = [(1.0 + 0.01 * place, 9.0, f"word {place}") for place in range(33)]
    many = srt(tmp_path / "many.srt", *cues)
    with pytest.raises(InputError, match=r"more than 32 pieces go on at 1\.32 s"):
        cut(open_recording(long_sound), Words(subtitles=many))
    few = srt(tmp_path / "few.srt", *cues[:32])
    assert len(cut(open_recording(long_sound), Words(subtitles=few))) == 32


def test_texts_that_are_none_are_refused(long_sound: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--text: holds what is no character of UTF-8"):
        Words("\ud800")
    table = tmp_path / "pieces.jsonl"
    table.write_text('{"start": 1, "end": 2, "text": "\\ud800"}\n')
    with pytest.raises(ValueError, match="half a character"):
        cut(open_recording(long_sound), Words(segments=table))


def test_words_without_end_are_refused(short_sound: Path, long_sound: Path, tmp_path: Path) -> None:
    many = srt(tmp_path / "many.srt", (0.5, 1.5, "word " * 2001))
    for sound in (short_sound, long_sound):
        with pytest.raises(InputError, match=r"letters, wanted at most 10000; mend its subtitles"):
            cut(open_recording(sound), Words(subtitles=many))
