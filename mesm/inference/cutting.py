"""Where a recording is cut, and what is said in each piece."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mesm.corpora.table.cells import read_text, read_time
from mesm.corpora.table.formats import Row, Table, read_rows, unit_of
from mesm.corpora.table.problems import Problems
from mesm.inference.recording import InputError, Recording
from mesm.inference.subtitles import ENDINGS, Cue, embedded_subtitles, read_subtitles
from mesm.inputs.loudness import cut_at_pauses, loudness
from mesm.inputs.spectrograms import AudioError

# Seconds of a piece at most; recordings up to this length are one piece.
LONGEST_PIECE = 15.0
# Seconds of a piece that --segments names, at most.
LONGEST_SEGMENT = 120.0
# Pieces that overlap; each is in memory as long as it goes on.
MOST_AT_ONCE = 32
# Letters of a piece's text; a minute of speech has some 900.
LONGEST_TEXT = 10_000
# A segment may end this much after its recording: times are rounded.
ROUNDED = 0.05


class Span(NamedTuple):
    """A piece of a recording, in seconds, and its words; None: nothing is known of them."""

    start: float
    end: float
    text: str | None = None


@dataclass(frozen=True)
class Words:
    """The words of a recording, and its pieces, as far as they are told.

    Attributes:
        text: all that is said; only for recordings of one piece.
        subtitles: an SRT or WebVTT file; None: that of the recording's stem beside it, if there is
            one, else a stream inside the recording.
        segments: a table with the columns start, end and, if wanted, text; of a table with the
            columns video or audio, the lines that name the recording, from the table's folder.
        unaided: whether files and streams that were not named are passed over, as where the words
            are transcribed.
    """

    text: str | None = None
    subtitles: Path | None = None
    segments: Path | None = None
    unaided: bool = False

    def __post_init__(self) -> None:
        if self.text is not None and (self.subtitles or self.segments):
            raise InputError("--text says all that is said; leave --subtitles and --segments out")
        if self.text is not None and not _is_text(self.text):
            raise InputError("--text: holds what is no character of UTF-8; write it anew")
        if self.text is not None and len(self.text) > LONGEST_TEXT:
            raise InputError(
                f"the text has {len(self.text)} letters, wanted at most {LONGEST_TEXT} for one "
                "piece; give --subtitles or --segments"
            )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def cut(recording: Recording, words: Words) -> list[Span]:
    """Find the pieces of a recording, by rising starts.

    Segments that are named are taken as they are. Else a recording of up to 15 s is one piece with
    all its words; a longer one is cut by its subtitles' cues, what lies between them left out, or
    without subtitles at pauses, into pieces of at most 15 s that leave nothing out.

    Args:
        recording: what is cut.
        words: what was told about it.

    Raises:
        InputError: a file of subtitles or segments cannot be used, or does not fit the recording;
            a text is given for a recording of several pieces; or too many pieces go on at once.
    """
    spans = _spans(recording, words)
    ends: list[float] = []
    for span in spans:
        if span.text is not None and len(span.text) > LONGEST_TEXT:
            raise InputError(
                f"{recording.path}: the words from {span.start:.2f} s to {span.end:.2f} s have "
                f"{len(span.text)} letters, wanted at most {LONGEST_TEXT}; mend its subtitles"
            )
        ends = [*(end for end in ends if end > span.start), span.end]
        if len(ends) > MOST_AT_ONCE:
            raise InputError(
                f"{recording.path}: more than {MOST_AT_ONCE} pieces go on at {span.start:.2f} s, "
                "by its subtitles or segments; merge those that overlap"
            )
    return spans


def _spans(recording: Recording, words: Words) -> list[Span]:
    """The pieces, however many go on at once; see `cut`."""
    cues = _cues(recording, words)
    if words.segments is not None:
        return _segments(recording, words.segments, cues)
    whole = recording.seconds <= LONGEST_PIECE
    if words.text is not None:
        if not whole:
            raise InputError(
                f"{recording.path} lasts {recording.seconds:.1f} s, and a text belongs to one "
                f"piece of at most {LONGEST_PIECE:g} s; give --subtitles or --segments instead"
            )
        return [Span(recording.start, recording.end, words.text)]
    if whole:
        text = None if cues is None else _said(cues, recording.start, recording.end)
        return [Span(recording.start, recording.end, text)]
    if cues is not None:
        return _by_cues(recording, cues)
    heard = np.empty(0, np.float32)
    # Sound that cannot be decoded is told when the pieces are read.
    with suppress(AudioError):
        if recording.sound:
            heard = loudness(recording.path)
    parts = cut_at_pauses(recording.start, recording.end, heard, LONGEST_PIECE)
    return [Span(*part) for part in parts]


def _cues(recording: Recording, words: Words) -> list[Cue] | None:
    """The cues that were named, or are beside or inside the recording."""
    if words.subtitles is not None:
        return read_subtitles(words.subtitles)
    if words.text is not None or words.unaided:
        return None
    for ending in ENDINGS:
        beside = _beside(recording.path, ending)
        if beside is not None:
            return read_subtitles(beside)
    return embedded_subtitles(recording.path) or None


def _beside(path: Path, ending: str) -> Path | None:
    """The file of the recording's stem and that ending, in small or capital letters."""
    if path.with_suffix(ending).is_file():
        return path.with_suffix(ending)
    with suppress(OSError):
        for other in sorted(path.parent.iterdir()):
            if (other.stem, other.suffix.lower()) == (path.stem, ending) and other.is_file():
                return other
    return None


def _said(cues: Iterable[Cue], start: float, end: float) -> str:
    """The words of the cues whose middles lie in a stretch; the last moment counts too."""
    middles = ((cue, (cue.start + cue.end) / 2) for cue in cues)
    return " ".join(cue.text for cue, middle in middles if start <= middle <= end)


def _by_cues(recording: Recording, cues: Sequence[Cue]) -> list[Span]:
    spans: list[Span] = []
    for cue in cues:
        start, end = max(cue.start, recording.start), min(cue.end, recording.end)
        if start < end:
            spans += _equal_parts(start, end, cue.text)
    if not spans:
        raise InputError(
            f"{recording.path} lasts from {recording.start:.2f} s to {recording.end:.2f} s, and "
            f"no subtitle lies there: the first begins at {cues[0].start:.2f} s; give its own"
        )
    return spans


def _equal_parts(start: float, end: float, text: str) -> list[Span]:
    """A cue in parts of at most 15 s, its words dealt out evenly."""
    count = max(1, -int(-(end - start) // LONGEST_PIECE))
    words = text.split()
    step, share = (end - start) / count, len(words) / count
    return [
        Span(
            start + i * step,
            end if i == count - 1 else start + (i + 1) * step,
            text if count == 1 else " ".join(words[round(i * share) : round((i + 1) * share)]),
        )
        for i in range(count)
    ]


def _segments(recording: Recording, file: Path, cues: Sequence[Cue] | None) -> list[Span]:
    """The lines of a table as pieces; all that is wrong is told with its line."""
    problems = Problems(file, unit_of(file))
    try:
        table = read_rows(file, problems)
    except ValueError as error:
        raise InputError(str(error)) from error
    for column in ("start", "end"):
        if table.columns and column not in table.columns:
            problems.in_head(column, "there is no such column; wanted start, end and text")
    spans: list[Span] = []
    if not len(problems):
        for row in _rows_about(recording, file, table):
            span = _segment(row, recording, problems)
            if span is not None:
                text = span.text
                if text is None and "text" not in table.columns and cues is not None:
                    text = _said(cues, span.start, span.end)
                spans.append(Span(span.start, span.end, text))
    problems.refuse()
    return sorted(spans, key=lambda span: (span.start, span.end))


def _rows_about(recording: Recording, file: Path, table: Table) -> Sequence[Row]:
    """The lines of a table, or those of a corpus' table that are about a recording."""
    naming = [column for column in ("video", "audio") if column in table.columns]
    if not naming:
        return table.rows
    named = {row.line: [row.cells.get(column) for column in naming] for row in table.rows}
    place = recording.path.resolve()

    def is_it(cell: object) -> bool:
        return bool(cell) and (file.parent / str(cell)).resolve() == place

    rows = [row for row in table.rows if any(map(is_it, named[row.line]))]
    if not rows:
        first = next((str(cell) for cells in named.values() for cell in cells if cell), "none")
        raise InputError(
            f"{file}: no line is about {recording.path}; the first {naming[0]} named there is "
            f"{first[:60]}: give another table, or one without the column"
        )
    return rows


def _segment(row: Row, recording: Recording, problems: Problems) -> Span | None:
    before = len(problems)
    times: list[float] = []
    for column in ("start", "end"):
        try:
            value = read_time(row.cells.get(column))
            if value is None:
                raise ValueError("it is empty; write seconds")
            times.append(value)
        except (ValueError, OverflowError) as error:
            problems.add(row.line, column, error)
    text = None
    try:
        text = read_text(row.cells.get("text")) or None
    except ValueError as error:
        problems.add(row.line, "text", error)
    if text is not None and len(text) > LONGEST_TEXT:
        mend = f"wanted at most {LONGEST_TEXT}; cut the segment"
        problems.add(row.line, "text", f"it has {len(text)} letters, {mend}")
    if len(problems) > before:
        return None
    start, end = times
    if not start < end:
        problems.add(row.line, "end", f"{end:g} s is not after its start, {start:g} s")
    elif end - start > LONGEST_SEGMENT:
        wanted = f"wanted at most {LONGEST_SEGMENT:g}"
        problems.add(row.line, "end", f"the segment lasts {end - start:g} s, {wanted}; cut it")
    elif start >= recording.end or end > recording.end + ROUNDED:
        lasts = f"{recording.path} ends at {recording.end:.2f} s"
        problems.add(row.line, "end", f"{lasts}, the segment goes from {start:g} s to {end:g} s")
    return Span(start, min(end, recording.end), text) if len(problems) == before else None
