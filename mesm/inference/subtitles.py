"""Subtitles: SRT and WebVTT files, and streams of text inside a video."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from mesm.inference.recording import InputError
from mesm.inputs.video import DECODING, VideoError, default_stream, opened, origin_of
from mesm.runs.ordinary import not_a_file, ordinary

ENDINGS = (".srt", ".vtt")
MOST_BYTES = 32 << 20
_WANTED = "wanted SRT or WebVTT, such as 00:00:01,000 --> 00:00:02,500"
# Hours may be missing, and the part of a second has a comma, a point or, in bad files, a colon.
_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})(?:[,.:](\d{1,6}))?"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-{{1,3}}>\s*{_TIME}(?:\s.*)?$")
_ARROW = re.compile(r"-{1,3}>")
_TAG = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}|\{[biu]\}|\{/[biu]\}")
# Seconds in which nobody says a word.
_MOMENT = 0.1
# Share of the letters of a Western language's text; and bytes of Latin-1 that are no letters.
_MOST_ACCENTED = 0.3
_SIGNS = b"\x80\x85\x91\x92\x93\x94\x96\x97\xa0\xab\xb0\xbb\xbf"
_BLOCKS = ("NOTE", "STYLE", "REGION")


@dataclass(frozen=True)
class Cue:
    """Some words and when they are said, in seconds."""

    start: float
    end: float
    text: str


def read_subtitles(file: Path) -> list[Cue]:
    """Read an SRT or WebVTT file.

    Byte order marks, Western Latin-1, any ends of lines, missing numbers, empty lines at the end,
    tags of style, notes and settings of place are taken or passed over. Cues without words are
    left out, and equal ones count once.

    Returns:
        The cues by their starts.

    Raises:
        InputError: the file is not there, has no cue, or has times that are none; names the line.
    """
    try:
        if not file.is_file():
            raise InputError(f"{file} {not_a_file(file)}; {_WANTED}")
        if ordinary(file).stat().st_size > MOST_BYTES:
            raise InputError(f"{file} is larger than {MOST_BYTES >> 20} MiB; {_WANTED}")
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); {_WANTED}") from error
    text = _decoded(data)
    cues = parse_subtitles(data.decode("latin-1") if text is None else text, str(file))
    if not cues:
        raise InputError(f"{file} has no words with times; {_WANTED}")
    if text is None:
        raise InputError(
            f"{file} is no UTF-8, and has more accents than any language in Latin-1; save it as "
            "UTF-8"
        )
    return cues


def parse_subtitles(text: str, name: str) -> list[Cue]:
    """Read the content of an SRT or WebVTT file; see `read_subtitles`.

    Args:
        text: the content.
        name: of the file, for messages.
    """
    lines = re.split(r"\r\n|\r|\n", text)
    found: list[_Lines] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.startswith(_BLOCKS) and (line[4:5] in ("", " ", "\t") or line in _BLOCKS):
            while number < len(lines) and lines[number].strip():
                number += 1
            continue
        if not _ARROW.search(line):
            continue  # a number, a name, a head, or an empty line
        start, end = _times(line, f"{name}, line {number}")
        words: list[str] = []
        while number < len(lines) and not _ends(lines, number):
            words.append(lines[number])
            number += 1
        if number < len(lines) and words and _TIMES.match(lines[number]):
            # No empty line between two cues: the last line is the next one's number.
            words = words[:-1] if words[-1].strip().isdigit() else words
        said = tuple(filter(None, map(_plain, words)))
        if said:
            found.append(_Lines(start, end, said))
    return _ordered(Cue(one.start, one.end, " ".join(one.said)) for one in _unrolled(found))


class _Lines(NamedTuple):
    """A cue line by line."""

    start: float
    end: float
    said: tuple[str, ...]


def _ends(lines: Sequence[str], number: int) -> bool:
    """Whether a cue ends before a line: an empty one, the next cue's times, or blanks before it."""
    if lines[number].strip():
        return _TIMES.match(lines[number]) is not None
    after = lines[number + 1 : number + 3]
    if not lines[number] or not after or not after[0].strip():
        return True
    # A line of blanks is one of words in WebVTT, and an empty one in some writers' SRT.
    return _TIMES.match(after[0]) is not None or (
        after[0].strip().isdigit() and _TIMES.match(after[-1]) is not None
    )


def _unrolled(cues: Sequence[_Lines]) -> Iterator[_Lines]:
    """Cues that roll, as YouTube writes them, each with the lines that are new in it.

    There a cue of a moment stands between two, and each repeats the lines of the one before.
    """
    ordered = sorted(cues, key=lambda cue: (cue.start, cue.end))
    shorts = [
        cue
        for before, cue in pairwise(ordered)
        if cue.end - cue.start < _MOMENT and set(cue.said) <= set(before.said)
    ]
    if not shorts:
        yield from cues
        return
    shown, until = frozenset[str](), -_MOMENT
    for cue in ordered:
        fresh = cue.said
        if cue.start - until < _MOMENT:
            fresh = tuple(line for line in cue.said if line not in shown)
        shown, until = frozenset(cue.said), cue.end
        if fresh:
            yield cue._replace(said=fresh)


def embedded_subtitles(path: Path) -> list[Cue] | None:
    """Read the subtitles inside a video: the stream marked as default, else the first of text.

    Args:
        path: of a container that can be opened.

    Returns:
        The cues by their starts; None: there is no stream of texts.
    """
    try:
        container = opened(path)
    except VideoError:
        return None
    with container:
        texts = [
            stream
            for stream in container.streams.subtitles
            if getattr(stream, "codec_context", None) is not None
            and stream.codec_context.name in ("subrip", "srt", "webvtt", "ass", "ssa", "mov_text")
        ]
        stream = default_stream(texts)  # type: ignore[type-var]
        if stream is None:
            return None
        origin = origin_of(container)
        return _ordered(_cues(container.demux(stream), origin))


def _cues(packets: Iterable, origin: float) -> Iterator[Cue]:
    """The cues of packets, as far as they can be decoded."""
    while True:
        try:
            packet = next(iter(packets))
            subtitles = packet.decode() if packet.size else []
        except StopIteration:
            return
        except DECODING:
            continue
        if packet.pts is None or packet.time_base is None:
            continue
        start = float(packet.pts * packet.time_base) - origin
        length = float((packet.duration or 0) * packet.time_base)
        words = []
        for subtitle in subtitles:
            for line in getattr(subtitle, "rects", (subtitle,)):
                words.append(_dialogue(line))
        said = _plain(" ".join(words))
        if said and length > 0 and start + length > 0:
            yield Cue(max(start, 0.0), start + length, said)


def _dialogue(rect: object) -> str:
    """The words of a decoded subtitle, which FFmpeg gives in the form of ASS."""
    line = getattr(rect, "dialogue", None) or getattr(rect, "text", None)
    if not line and (ass := getattr(rect, "ass", b"")):
        line = ass.split(b",", 8)[-1]
    return line.decode("utf-8", "replace") if isinstance(line, bytes) else str(line or "")


def _decoded(data: bytes) -> str | None:
    """A file's text; None: it is neither UTF-8 nor a Western language's Latin-1."""
    for mark, name in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if data.startswith(mark):
            try:
                return data.decode(name)
            except UnicodeDecodeError:
                continue
    accented = sum(byte > 127 and byte not in _SIGNS for byte in data)
    letters = accented + sum(byte < 128 and chr(byte).isalpha() for byte in data)
    # Windows' Latin-1, which has quotation marks where the other has none.
    return data.decode("cp1252", "replace") if accented <= _MOST_ACCENTED * letters else None


def _times(line: str, where: str) -> tuple[float, float]:
    found = _TIMES.match(line)
    if found is None:
        raise InputError(f"{where}: {line.strip()[:60]!r} are no times; {_WANTED}")
    start, end = _seconds(*found.groups()[:4]), _seconds(*found.groups()[4:])
    if start is None or end is None or end < start:
        raise InputError(
            f"{where}: {line.strip()[:60]!r} ends before it begins, or has more than 59 minutes or "
            "seconds; mend the times"
        )
    return start, end


def _seconds(hours: str | None, minutes: str, seconds: str, part: str | None) -> float | None:
    if int(minutes) > 59 or int(seconds) > 59:
        return None
    whole = 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)
    return whole + (int(part) / 10 ** len(part) if part else 0.0)


def _plain(text: str) -> str:
    text = text.replace("\\N", " ").replace("\\n", " ").replace("\\h", " ")
    return " ".join(html.unescape(_TAG.sub("", text)).split())


def _ordered(cues: Iterable[Cue]) -> list[Cue]:
    kept = {(cue.start, cue.end, cue.text): cue for cue in cues if cue.end > cue.start}
    return sorted(kept.values(), key=lambda cue: (cue.start, cue.end))
