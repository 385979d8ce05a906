"""Raw CMU-MOSEI (Zadeh et al., 2018), as its users have it on disk."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from mesm.corpora.utterances import RawCorpus, Utterance, read_lines, read_text

AUDIO, VIDEOS, TRANSCRIPTS, LABELS = (
    "Audio/WAV_16000",
    "Videos/Full/Combined",
    "Transcript/Combined",
    "Labels",
)
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
COLUMNS = ("Input.VIDEO_ID", "Input.CLIP", *ANSWERS)


def find_root(raw: Path) -> Path:
    """Check the folder.

    Raises:
        ValueError: `raw` is not CMU-MOSEI; says what was wanted.
    """
    missing = [part for part in (TRANSCRIPTS, LABELS) if not (raw / part).is_dir()]
    if missing or not any((raw / LABELS).glob("*.csv")):
        lacks = ", ".join(missing) or f"{LABELS}/*.csv"
        raise ValueError(
            f"{raw} is not CMU-MOSEI: it has no {lacks}; wanted a folder with {AUDIO}, {VIDEOS}, "
            f"{TRANSCRIPTS} and {LABELS}"
        )
    return raw


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
    corpus = RawCorpus("mosei", root)
    answers = _read_answers(corpus)
    seen = set()
    for file in corpus.text_files(root / TRANSCRIPTS, ".txt"):
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
    for file in corpus.text_files(corpus.root / LABELS, ".csv"):
        rows = csv.DictReader(io.StringIO(read_text(file), newline=""))
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or [])]
        if missing:
            corpus.notes.append(f"passed over {corpus.relative(file)}: no column {missing[0]}")
            continue
        fits = True
        for row in rows:
            key = (row["Input.VIDEO_ID"] or "").strip(), (row["Input.CLIP"] or "").strip()
            sums, where, line = answers.get(key, ([0.0] * len(ANSWERS), file, rows.line_num))
            try:
                values = [_rating(row[column]) for column in ANSWERS]
            except ValueError as error:
                corpus.skip("_".join(key), "unreadable label", file, rows.line_num, str(error))
                answers[key] = (None, where, line)
                continue
            if sums is not None:
                sums = [a + b for a, b in zip(sums, values, strict=True)]
            answers[key] = (sums, where, line)
    if not fits:
        raise ValueError(
            f"{corpus.root / LABELS} holds no label file with the columns {', '.join(COLUMNS)}"
        )
    return answers


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
        if not (math.isfinite(start) and math.isfinite(end)):
            raise ValueError("not finite")
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
    start = max(start, 0.0)
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
        video=corpus.root / VIDEOS / f"{file.stem}.mp4",
        audio=corpus.root / AUDIO / f"{file.stem}.wav",
    )
