"""Raw CMU-MOSEI (Zadeh et al., 2018), as its users have it on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mesm.corpora.csv_rows import read_rows, unfit
from mesm.corpora.mosei_sdk import SdkLabels, read_sdk
from mesm.corpora.trees import some
from mesm.corpora.utterances import RawCorpus, Utterance, read_lines, read_text

# Where each part may lie, as in the archive CMU_MOSEI.zip or beside it; the first there counts.
AUDIO = ("Audio/WAV_16000", "Audio/Full/WAV_16000")
VIDEOS = ("Videos/Full/Combined",)
TRANSCRIPTS = ("Transcript/Combined", "Transcript/Segmented/Combined")
LABELS = ("Labels",)
# Where the SDK's label file may lie.
SDK_LABELS = ("Labels/*.csd", "labels/*.csd", "*Labels*.csd")
# All that `read_mosei` opens.
READ_FIRST = (
    *(f"{folder}/*.txt" for folder in TRANSCRIPTS),
    *(f"{folder}/*.csv" for folder in LABELS),
    *SDK_LABELS,
)
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
        labelled = any(_part(root, LABELS).glob("*.csv")) or _sdk_files(root)
        if _part(root, TRANSCRIPTS).is_dir() and labelled:
            return root
    parts = (TRANSCRIPTS, LABELS)
    missing = [" or ".join(part) for part in parts if not _part(raw, part).is_dir()]
    lacks = ", ".join(missing) or f"{LABELS[0]}/*.csv or *.csd"
    wanted = ", ".join(" or ".join(part) for part in (AUDIO, VIDEOS, *parts))
    raise ValueError(
        f"{raw} is not CMU-MOSEI: it has no {lacks}; wanted a folder with {wanted}, in it or in "
        f"its {', '.join(ROOTS[1:])}"
    )


def _part(root: Path, places: Sequence[str]) -> Path:
    """The first of the folders that is there, or else the first."""
    return next((root / place for place in places if (root / place).is_dir()), root / places[0])


def _sdk_files(root: Path) -> list[Path]:
    """Files of the SDK, which may be its labels; hidden ones are passed over."""
    found = {file.resolve(): file for place in SDK_LABELS for file in sorted(root.glob(place))}
    return [file for file in found.values() if file.is_file() and not file.name.startswith(".")]


def read_mosei(raw: Path) -> RawCorpus:
    """Read labels and transcripts; no media are opened.

    An emotion is present if its answers sum to more than 0; a clip without any is kept. Answers
    are those of the CSV files, and for clips without any in these, those of the SDK's label file.

    Args:
        raw: the folder with Audio, Videos, Transcript and Labels.

    Returns:
        The labelled utterances, and what was left out.

    Raises:
        ValueError: `raw` is not CMU-MOSEI, or none of its label files has the columns wanted; or
            it has the SDK's label file, and h5py is missing.
    """
    root = find_root(raw)
    corpus = RawCorpus("mosei", root, home=None if root == raw else raw)
    answers = _Answers(*_read_answers(corpus))
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
    for (video, clip), (_, where, line) in answers.rated.items():
        if f"{video}_{clip}" not in spoken:
            corpus.skip(f"{video}_{clip}", "no transcript", where, line)
    _note_sdk(corpus, answers)
    corpus.sort()
    return corpus


# Sums of answers, and the file and line of the first; None: one of them is unreadable.
_Rated = dict[tuple[str, str], tuple[Sequence[float] | None, Path, int]]


@dataclass
class _Answers:
    """The answers of raters.

    Attributes:
        rated: by video and clip, from the CSV files.
        sdk: by video and seconds, from the SDK's label file; None: it is not there.
        told: segments of the SDK's file that transcripts asked for.
        differing: clips of which the two say different emotions.
    """

    rated: _Rated
    sdk: SdkLabels | None
    told: set[tuple[str, float, float]] = field(default_factory=set)
    differing: list[str] = field(default_factory=list)

    def find(self, video: str, clip: str, start: float, end: float) -> Sequence[float] | None:
        """The answers of a line of a transcript; None: one of them is unreadable.

        Raises:
            KeyError: there are none.
            ValueError: the SDK's file says two things, and the CSV files nothing.
        """
        rated = self.rated.get((video, clip))
        try:
            segment = self.sdk and self.sdk.find(video, start, end)
        except ValueError:
            if rated is None:
                raise
            segment = None
        if segment:
            self.told.add((video, segment.start, segment.end))
        if rated is None:
            if not segment:
                raise KeyError(clip)
            return segment.answers
        if segment and rated[0] is not None and _present(rated[0]) != _present(segment.answers):
            self.differing.append(f"{video}_{clip}")
        return rated[0]


def _present(answers: Sequence[float]) -> tuple[int, ...]:
    return tuple(int(value > 0) for value in answers)


def _note_sdk(corpus: RawCorpus, answers: _Answers) -> None:
    if answers.sdk is None:
        return
    name = corpus.relative(answers.sdk.file)
    if answers.differing:
        corpus.notes.append(
            f"{name} says other emotions than the CSV files of {len(answers.differing)} clips; the "
            f"CSV files count: {some(answers.differing)}"
        )
    untold = [
        f"{video} {segment.start:.2f} s"
        for video, segments in answers.sdk.segments.items()
        for segment in segments
        if (video, segment.start, segment.end) not in answers.told
    ]
    if untold:
        corpus.notes.append(f"{len(untold)} segments of {name} have no transcript: {some(untold)}")


def _read_answers(corpus: RawCorpus) -> tuple[_Rated, SdkLabels | None]:
    answers: _Rated = {}
    fits = False
    for file in corpus.text_files(_part(corpus.root, LABELS), ".csv"):
        header, rows = read_rows(read_text(file))
        problem = unfit(header, COLUMNS)
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
    sdk = read_sdk(corpus, _sdk_files(corpus.root))
    if not fits and sdk is None:
        raise ValueError(
            f"{_part(corpus.root, LABELS)} holds no label file with the columns "
            f"{', '.join(COLUMNS)}, and no .csd file with the labels of the SDK"
        )
    return answers, sdk


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
    try:
        sums = answers.find(file.stem, clip, start, end)
    except KeyError:
        corpus.skip(clip_id, "no label", file, number)
        return None
    except ValueError as error:
        corpus.skip(clip_id, "unreadable label", file, number, str(error))
        return None
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
        labels=_present(sums),
        video=_part(corpus.root, VIDEOS) / f"{file.stem}.mp4",
        audio=_part(corpus.root, AUDIO) / f"{file.stem}.wav",
    )
