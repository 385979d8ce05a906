"""Subtitles as they are found: two formats, odd files, and streams inside videos."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from mesm.inference.recording import InputError
from mesm.inference.subtitles import Cue, embedded_subtitles, parse_subtitles, read_subtitles
from tests.mesm.corpora.tiny_media import write_video

SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello\nyou.\n\n2\n00:00:03,000 --> 00:00:04,000\nBye\n"
CUES = [Cue(1.0, 2.5, "Hello you."), Cue(3.0, 4.0, "Bye")]


@pytest.mark.parametrize(
    ("content", "cues"),
    [
        (SRT, CUES),
        (SRT.replace("\n", "\r\n"), CUES),
        (SRT.replace("\n", "\r"), CUES),
        (SRT.replace("1\n00", "00").replace("2\n00:00:03", "00:00:03"), CUES),  # no numbers
        (SRT.replace(",", "."), CUES),
        (SRT.replace(" --> ", "-->"), CUES),
        (SRT.replace("\n\n2\n", "\n2\n"), CUES),  # no empty line
        (SRT + SRT, CUES),  # written twice
        (SRT.replace("Bye", "<i>Bye</i>"), CUES),
        (SRT.replace("Bye", "{\\an8}<font color='red'>Bye</font>"), CUES),
        (SRT.replace("Bye", ""), CUES[:1]),
        (SRT.replace("00:00:04,000", "00:00:03,000"), CUES[:1]),  # of no length
        (SRT.replace("00:00:04,000\n", "00:00:04,000 X1:0 X2:9 Y1:0 Y2:9\n"), CUES),
        ("WEBVTT\n\n00:01.000 --> 00:02.500\nHello you.\n\n00:03.000 --> 00:04.000\nBye", CUES),
        (
            "WEBVTT - title\nKind: captions\n\nNOTE a word\nmore --> here\n\nSTYLE\n::cue {}\n\n"
            "first\n00:01.000 --> 00:02.500 align:start position:0%\n<v Ann>Hello <b>you.</b>\n\n"
            "REGION\nid:x\n\n00:00:03.000 --> 00:00:04.000\n<00:00:03.100><c>Bye</c>\n",
            CUES,
        ),
        (
            "1\n00:00:01,000 --> 00:00:02,000\nTom &amp; Ann&nbsp;&lt;3\n",
            [Cue(1, 2, "Tom & Ann <3")],
        ),
        ("1\n100:00:01,5 --> 100:00:02,25\nlate\n", [Cue(360001.5, 360002.25, "late")]),
        ("2\n0:0:3 --> 0:0:4\nb\n\n1\n0:0:1 --> 0:0:2\na\n", [Cue(1, 2, "a"), Cue(3, 4, "b")]),
        ("1\n00:00:01,000 --> 00:00:02,000\n7\n", [Cue(1, 2, "7")]),
        ("no subtitles at all\n", []),
        ("", []),
    ],
)
def test_cues_of_files(content: str, cues: list[Cue]) -> None:
    assert parse_subtitles(content, "x.srt") == cues


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("00:00:02,000 --> 00:00:01,000", "ends before it begins"),
        ("00:61:00,000 --> 00:62:00,000", "59 minutes"),
        ("one --> two", "are no times"),
        ("00:00:01,000 --> ", "are no times"),
    ],
)
def test_times_that_are_none_name_their_line(line: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"x.srt, line 2: .*{message}"):
        parse_subtitles(f"1\n{line}\nwords\n", "x.srt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "a.srt"
    file.write_bytes(SRT.replace("Bye", "Müßig").encode(encoding))
    assert read_subtitles(file)[1].text == "Müßig"


def test_files_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    with pytest.raises(InputError, match=r"a.srt is not there; wanted SRT"):
        read_subtitles(file)
    file.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"a.srt has no words with times"):
        read_subtitles(file)
    with pytest.raises(InputError, match=r"is a folder"):
        read_subtitles(tmp_path)


def with_subtitles(video: Path, subtitles: Path, out: Path) -> Path:
    """Copy a video and put subtitles into it."""
    with av.open(str(video)) as one, av.open(str(subtitles)) as other, av.open(str(out), "w") as to:
        streams = {
            (place, stream.index): to.add_stream_from_template(stream)
            for place, container in enumerate((one, other))
            for stream in container.streams
        }
        packets = [
            (float(packet.dts * packet.time_base), place, packet)
            for place, container in enumerate((one, other))
            for packet in container.demux()
            if packet.dts is not None
        ]
        for _, place, packet in sorted(packets, key=lambda one: one[:2]):
            packet.stream = streams[place, packet.stream.index]
            to.mux(packet)
    return out


def test_subtitles_inside_a_video(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.avi", seconds=4.0, form="avi")
    assert embedded_subtitles(video) is None
    subtitles = tmp_path / "other.srt"
    subtitles.write_text(SRT.replace("Bye", "<i>Bye</i>, now"))
    found = embedded_subtitles(with_subtitles(video, subtitles, tmp_path / "b.mkv"))
    assert found is not None
    assert [cue.text for cue in found] == ["Hello you.", "Bye, now"]
    assert [round(cue.start - found[0].start, 2) for cue in found] == [0, 2]
    assert found[0].end - found[0].start == pytest.approx(1.5)


def test_captions_that_roll_say_each_line_once() -> None:
    rolling = (
        "WEBVTT\nKind: captions\nLanguage: en\n\n"
        "00:00:00.000 --> 00:00:02.500 align:start position:0%\n \n"
        "hello<00:00:00.500><c> my</c>\n\n"
        "00:00:02.500 --> 00:00:02.510 align:start position:0%\nhello my\n \n\n"
        "00:00:02.510 --> 00:00:05.000 align:start position:0%\nhello my\nsecond<00:00:03.000>"
        "<c> line</c>\n\n"
        "00:00:05.000 --> 00:00:05.010 align:start position:0%\nsecond line\n \n\n"
        "00:00:09.000 --> 00:00:10.000 align:start position:0%\nsecond line\n"
    )
    assert parse_subtitles(rolling, "a.vtt") == [
        *(Cue(0.0, 2.5, "hello my"), Cue(2.51, 5.0, "second line"), Cue(9.0, 10.0, "second line"))
    ]
    # Elsewhere somebody may say a word twice.
    twice = "00:01.000 --> 00:02.000\nNo.\n\n00:02.000 --> 00:03.000\nNo.\n"
    assert parse_subtitles(twice, "a.vtt") == [Cue(1.0, 2.0, "No."), Cue(2.0, 3.0, "No.")]


@pytest.mark.parametrize("between", [" ", "\t", " \n2", "\n2", " \n \n2"])
def test_blanks_between_cues_end_them(between: str) -> None:
    text = f"1\n00:01.000 --> 00:02.000\nOne.\n{between}\n00:03.000 --> 00:04.000\nTwo.\n"
    assert parse_subtitles(text, "a.srt") == [Cue(1.0, 2.0, "One."), Cue(3.0, 4.0, "Two.")]


def test_letters_of_other_languages_are_not_taken_for_western_ones(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    for word, encoding in (("Привет, мир", "cp1251"), ("こんにちは世界", "shift-jis")):
        file.write_bytes(SRT.replace("Bye", word).encode(encoding))
        with pytest.raises(InputError, match=r"a.srt is no UTF-8, .*; save it as UTF-8"):
            read_subtitles(file)
    file.write_bytes(SRT.replace("Bye", "“It’s” – fine…").encode("cp1252"))
    assert read_subtitles(file)[1].text == "“It’s” – fine…"
