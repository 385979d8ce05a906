"""Raw CMU-MOSEI (Zadeh et al., 2018), as its users have it on disk."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mesm.corpora.utterances import RawCorpus, Utterance, read_lines, read_text

# Where each part may lie, as in the archive CMU_MOSEI.zip or beside it; the first there counts.
AUDIO = ("Audio/WAV_16000", "Audio/Full/WAV_16000")
VIDEOS = ("Videos/Full/Combined",)
TRANSCRIPTS = ("Transcript/Combined", "Transcript/Segmented/Combined")
LABELS = ("Labels",)
# Folders in which the parts may lie, within the one that is named.
ROOTS = (".", "Raw", "CMU_MOSEI", "CMU_MOSEI/Raw")
EMOTIONS = ("angry", "disgusted", "fear", "happy", "sad", "surprised")
# In the order of the emotions.
ANSWERS = (
    "Answer.anger",
    "Answer.disgust",
    "Answer.fear",
    "Answer.happiness",
    "Answer.sadness",
    "Answer.surprise",
)
# Lines that one cell may go on in.
LONGEST_CELL = 20
COLUMNS = ("Input.VIDEO_ID", "Input.CLIP", *ANSWERS)
# Seconds; aligners place first words a little before the recording, and nothing earlier.
EARLIEST = -1.0


def find_root(raw: Path) -> Path:
    """Find the folder that holds the parts.

    Raises:
        ValueError: there is no CMU-MOSEI at or in `raw`; says what was wanted.
    """
    for place in ROOTS:
        root = raw / place
        if _part(root, TRANSCRIPTS).is_dir() and any(_part(root, LABELS).glob("*.csv")):
            return root
    parts = (TRANSCRIPTS, LABELS)
    missing = [" or ".join(part) for part in parts if not _part(raw, part).is_dir()]
    lacks = ", ".join(missing) or f"{LABELS[0]}/*.csv"
    wanted = ", ".join(" or ".join(part) for part in (AUDIO, VIDEOS, *parts))
    raise ValueError(
        f"{raw} is not CMU-MOSEI: it has no {lacks}; wanted a folder with {wanted}, in it or in "
        f"its {', '.join(ROOTS[1:])}"
    )


def _part(root: Path, places: Sequence[str]) -> Path:
    """The first of the folders that is there, or else the first."""
    return next((root / place for place in places if (root / place).is_dir()), root / places[0])


def read_mosei(raw: Path) -> RawCorpus:
    """Read labels and transcripts; no media are opened.

    An emotion is present if its answers sum to more than 0; a clip without any is kept.

    Args:
        raw: the folder with Audio, Videos, Transcript and Labels.

    Returns:
        The labelled utterances, and what was left out.

    Raises:
        ValueError: `raw` is not CMU-MOSEI, or none of its label files has the columns wanted.
    """
    root = find_root(raw)
    corpus = RawCorpus("mosei", root, home=None if root == raw else raw)
    answers = _read_answers(corpus)
    seen = set()
    for file in corpus.text_files(_part(root, TRANSCRIPTS), ".txt"):
        for number, text_line in enumerate(read_lines(file), 1):
            if not text_line.strip():
                continue
            utterance = _read_utterance(corpus, file, number, text_line, answers)
            if utterance is None:
                continue
            if utterance.clip_id in seen:
                corpus.skip(utterance.clip_id, "transcribed twice, first kept", file, number)
                continue
            seen.add(utterance.clip_id)
            corpus.utterances.append(utterance)
    spoken = seen | {skipped.clip_id for skipped in corpus.skipped}
    for (video, clip), (_, where, line) in answers.items():
        if f"{video}_{clip}" not in spoken:
            corpus.skip(f"{video}_{clip}", "no transcript", where, line)
    corpus.sort()
    return corpus


# Sums of answers, and the file and line of the first; None: one of them is unreadable.
_Answers = dict[tuple[str, str], tuple[list[float] | None, Path, int]]


def _read_answers(corpus: RawCorpus) -> _Answers:
    answers: _Answers = {}
    fits = False
    for file in corpus.text_files(_part(corpus.root, LABELS), ".csv"):
        header, rows = _read_csv(read_text(file))
        problem = _unfit(header)
        if problem:
            corpus.notes.append(f"passed over {corpus.relative(file)}: {problem}")
            continue
        fits = True
        places = [header.index(column) for column in COLUMNS]
        for line_number, row, wrong in rows:
            cells = [row[place] if place < len(row) else "" for place in places]
            key = cells[0].strip(), cells[1].strip()
            sums, where, line = answers.get(key, ([0.0] * len(ANSWERS), file, line_number))
            try:
                if wrong:
                    raise ValueError(wrong)
                if not all(key):
                    raise ValueError("no video or no clip")
                values = [_rating(cell) for cell in cells[2:]]
            except ValueError as error:
                # The other raters alone would give another label than all of them.
                clip_id = "_".join(key) if all(key) else ""
                corpus.skip(clip_id[:80], "unreadable label", file, line_number, str(error)[:120])
                answers[key] = (None, where, line)
                continue
            if sums is not None:
                sums = [a + b for a, b in zip(sums, values, strict=True)]
            answers[key] = (sums, where, line)
    if not fits:
        raise ValueError(
            f"{_part(corpus.root, LABELS)} holds no label file with the columns "
            f"{', '.join(COLUMNS)}"
        )
    return answers


def _unfit(header: Sequence[str]) -> str:
    """Say why a label file with this header cannot be read; "" if it can be."""
    for column in COLUMNS:
        if header.count(column) != 1:
            return f"column {column} twice" if column in header else f"no column {column}"
    return ""


def _read_csv(text: str) -> tuple[list[str], Iterator[tuple[int, list[str], str]]]:
    """Split a CSV file into its header and its rows.

    Returns:
        The header, and each row's first line, its cells as far as they can be read, and what is
        wrong with it, or "".
    """
    lines = [line for line in re.split(r"(?<=\n)|(?<=\r)(?!\n)", text) if line]
    try:
        header = next(csv.reader(lines[:1]), [])
    except csv.Error:
        header = []
    return header, _read_rows(lines, len(header))


def _read_rows(lines: Sequence[str], width: int) -> Iterator[tuple[int, list[str], str]]:
    i = 1
    while i < len(lines):
        first = i
        row, open_quote = _cells(lines[i])
        i += 1
        if open_quote:
            # A cell may go on in lines of less than a row; else a quote was not closed, and
            # reading on would take the next rows for this cell.
            taken = lines[first]
            for line in lines[i : i + LONGEST_CELL]:
                if len(_cells(line)[0]) >= width:
                    break
                taken += line
                i += 1
                row, open_quote = _cells(taken)
                if not open_quote:
                    break
        if open_quote:
            i = first + 1
            yield first + 1, _cells(lines[first])[0], "a quote is not closed"
        elif row is not None and any(cell.strip() for cell in row):
            filled = len(row) == width or (len(row) > width and not any(row[width:]))
            yield first + 1, row, "" if filled else f"{len(row)} cells, wanted {width}"
        elif "," in lines[first]:
            yield first + 1, [], "not a row of cells"


def _cells(line: str) -> tuple[list[str], bool]:
    """The cells of a line, and whether the last is a quote that is not closed."""
    try:
        return next(csv.reader([line], strict=True), []), False
    except csv.Error as error:
        unclosed = "unexpected end" in str(error)
    try:
        return next(csv.reader([line]), []), unclosed
    except csv.Error:
        return [], unclosed


def _rating(cell: str | None) -> float:
    """A rater's answer; an empty cell is 0.

    Raises:
        ValueError: it is not a finite number of at least 0.
    """
    value = float(cell or 0)
    if not 0 <= value < math.inf:
        raise ValueError(f"wanted a number of at least 0, got {cell!r}")
    return value


def _read_utterance(
    corpus: RawCorpus, file: Path, number: int, line: str, answers: _Answers
) -> Utterance | None:
    # video___clip___start___end___text; a video's name may itself begin with underscores.
    rest = line.removeprefix(file.stem + "___")
    fields = rest.split("___", 3)
    try:
        clip, start, end, text = fields[0].strip(), float(fields[1]), float(fields[2]), fields[3]
        if not (EARLIEST <= start < math.inf and math.isfinite(end)):
            raise ValueError("no times of a recording")
        if any(letter < " " and letter != "\t" for letter in text):
            raise ValueError("no text")
    except (IndexError, ValueError):
        corpus.skip("", "unreadable transcript", file, number, line[:80])
        return None
    clip_id = f"{file.stem}_{clip}"
    if not corpus.usable(clip_id, file.stem, file, number):
        return None
    if rest == line:
        corpus.skip("", "transcript of another video", file, number, line[:80])
        return None
    if (file.stem, clip) not in answers:
        corpus.skip(clip_id, "no label", file, number)
        return None
    sums = answers[file.stem, clip][0]
    if sums is None:
        return None
    if not text.strip():
        corpus.skip(clip_id, "empty transcript", file, number)
        return None
    # Aligners may place a first word before the recording; nothing can be read there.
    if start < 0 < end:
        corpus.notes.append(
            f"{clip_id} begins before its recording, at {start:.2f} s: taken from 0 s on"
        )
        start = 0.0
    if not end > start:
        corpus.skip(clip_id, "zero length", file, number)
        return None
    return Utterance(
        clip_id=clip_id,
        dialog=file.stem,
        speaker=file.stem,
        start=start,
        end=end,
        text=text.strip(),
        labels=tuple(int(value > 0) for value in sums),
        video=_part(corpus.root, VIDEOS) / f"{file.stem}.mp4",
        audio=_part(corpus.root, AUDIO) / f"{file.stem}.wav",
    )
