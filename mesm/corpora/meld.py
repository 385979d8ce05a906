"""Raw MELD (Poria et al., 2019), as its users have it on disk."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mesm.corpora import published
from mesm.corpora.csv_rows import read_rows, unfit
from mesm.corpora.trees import below, some
from mesm.corpora.utterances import RawCorpus, Utterance
from mesm.runs.hashes import sha256
from mesm.runs.ordinary import ordinary

EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
COLUMNS = (
    *("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"),
    *("StartTime", "EndTime"),
)
# Seconds. The longest sentence has 69 words; labels and cuts that are minutes long are wrong.
LONGEST = 60.0


@dataclass(frozen=True)
class _Split:
    """A split of MELD: how its files name it, and how this library does."""

    name: str
    split: str
    folder: str

    @property
    def labels(self) -> str:
        return f"{self.name}_sent_emo.csv"


SPLITS = (
    _Split("train", "train", "train_splits"),
    _Split("dev", "valid", "dev_splits_complete"),
    _Split("test", "test", "output_repeated_splits_test"),
)
WANTED = (
    f"wanted {', '.join(split.labels for split in SPLITS)} and the folders "
    f"{', '.join(split.folder for split in SPLITS)} with dia0_utt0.mp4 and so on, in it or below"
)

_VIDEO = re.compile(r"dia(\d+)_utt(\d+)", re.I)
# Some files of the test split are named so; the same names without that are there as well.
_REPEATED = "final_videos_test"
# 00:20:57,256 and 0:05:01,5 are both in use.
_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:[,.](\d{1,3}))?")
# Characters that UTF-8 files have from text in Windows' code page.
_CONTROLS = re.compile("[\x80-\x9f]")

_Key = tuple[int, int]


@dataclass(frozen=True)
class _Row:
    """A line of a label file that is to become a clip."""

    key: _Key
    clip_id: str
    split: _Split
    file: Path
    line: int
    text: str
    speaker: str
    emotion: str
    seconds: float | None


def read_meld(raw: Path) -> RawCorpus:
    """Read labels, and the lengths of videos from their headers.

    Args:
        raw: a folder with the unpacked archive, however deep.

    Returns:
        The labelled utterances with the corpus' own splits, and what was left out.

    Raises:
        ValueError: `raw` holds no label file of MELD with the columns wanted, or no folder of its
            videos.
    """
    # Kept out of what commands import before they know which corpus they read.
    from mesm.corpora.whole_files import measure_all

    corpus = RawCorpus("meld", raw, single_label=True)
    tables, videos = _find(corpus)
    rows = [row for split in SPLITS for row in _read_labels(corpus, split, tables[split.name])]
    placed = [(row, videos[row.split.name].get(row.key)) for row in rows]
    there = [(row, video) for row, video in placed if video is not None]
    for row, video in placed:
        if video is None:
            _no_video(corpus, row, videos[row.split.name])
    parts = measure_all(corpus, [(row.clip_id, video, video) for row, video in there])
    shortened = []
    for (row, video), part in zip(there, parts, strict=True):
        if part is None:
            continue
        start, end = part
        if end - start > LONGEST:
            if row.seconds is None or row.seconds > LONGEST:
                told = "none" if row.seconds is None else f"{row.seconds:.0f} s"
                detail = f"{end - start:.0f} s, by its line {told}, wanted at most {LONGEST:.0f} s"
                corpus.skip(row.clip_id, "cut too long", video, detail=detail)
                continue
            end = start + row.seconds
            shortened.append(row.clip_id)
        corpus.utterances.append(
            Utterance(
                clip_id=row.clip_id,
                dialog=f"{row.split.name}_dia{row.key[0]}",
                speaker=row.speaker,
                start=start,
                end=end,
                text=row.text,
                labels=tuple(int(row.emotion == emotion) for emotion in EMOTIONS),
                video=video,
                audio=video,
                split=row.split.split,
            )
        )
    if shortened:
        corpus.notes.append(
            f"{len(shortened)} videos last more than {LONGEST:.0f} s, and are taken for as long as "
            f"their lines say, from their beginning: {some(shortened)}"
        )
    _note_copies(corpus)
    _note_unlabelled(corpus, videos, {(row.split.name, row.key) for row in rows})
    published.note_missing(
        corpus, Counter(u.split or "" for u in corpus.utterances), published.MELD
    )
    corpus.sort()
    return corpus


class _Videos(dict[_Key, Path]):
    """A split's videos by dialogue and utterance.

    Attributes:
        folders: those that hold them.
        others: videos of other names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folders: list[Path] = []
        self.others: list[Path] = []


def _find(corpus: RawCorpus) -> tuple[dict[str, list[Path]], dict[str, _Videos]]:
    """The label files and the videos of every split, wherever the archives put them."""
    tables: dict[str, list[Path]] = {split.name: [] for split in SPLITS}
    videos = {split.name: _Videos() for split in SPLITS}
    copies = []
    for folder, names in below(corpus.root):
        for split in SPLITS:
            if split.labels in names:
                tables[split.name].append(folder / split.labels)
            if folder.name == split.folder:
                videos[split.name].folders.append(folder)
                copies += _add_videos(videos[split.name], folder, names)
    if not any(tables.values()):
        raise ValueError(f"{corpus.root} is not MELD: it has no label file; {WANTED}")
    if not any(found.folders for found in videos.values()):
        raise ValueError(f"{corpus.root} is not MELD: it has no folder of videos; {WANTED}")
    for split in SPLITS:
        lacking = [split.labels] * (not tables[split.name])
        lacking += [split.folder] * (not videos[split.name].folders)
        if lacking:
            corpus.notes.append(f"not there: {', '.join(lacking)}")
    if copies:
        names = [corpus.relative(file) for file in copies]
        corpus.notes.append(f"passed over {len(copies)} second copies of videos: {some(names)}")
    return tables, videos


def _add_videos(videos: _Videos, folder: Path, names: Sequence[str]) -> list[Path]:
    copies = []
    for name in names:
        file = folder / name
        if file.suffix.lower() != ".mp4":
            continue
        match = _VIDEO.fullmatch(file.stem)
        if match is None:
            videos.others.append(file)
        elif (key := (int(match[1]), int(match[2]))) in videos:
            copies.append(file)
        else:
            videos[key] = file
    return copies


def _read_labels(corpus: RawCorpus, split: _Split, files: Sequence[Path]) -> list[_Row]:
    """The rows of a split's label file that can become clips; the nearest file counts."""
    if not files:
        return []
    file, *others = files
    try:
        data = ordinary(file).read_bytes()
        differing = [corpus.relative(other) for other in others if other.read_bytes() != data]
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror})") from error
    if differing:
        corpus.notes.append(
            f"{corpus.relative(file)} is read, {some(differing)} says something else"
        )
    header, lines = read_rows(decode(data))
    header = [name.strip() for name in header]
    problem = unfit(header, COLUMNS)
    if problem:
        raise ValueError(f"{file} is no label file of MELD: {problem}; wanted {', '.join(COLUMNS)}")
    places = [header.index(column) for column in COLUMNS]
    rows: dict[_Key, _Row] = {}
    for number, cells, wrong in lines:
        if wrong or not all(place < len(cells) for place in places):
            corpus.skip("", "unreadable label", file, number, wrong)
            continue
        text, speaker, emotion, dialogue, utterance, start, end = (
            " ".join(cells[place].split()) for place in places
        )
        if not all(name.isascii() and name.isdigit() for name in (dialogue, utterance)):
            detail = f"dialogue {dialogue[:20]!r}, utterance {utterance[:20]!r}"
            corpus.skip("", "unreadable label", file, number, detail)
            continue
        key = int(dialogue), int(utterance)
        clip_id = f"{split.name}_dia{key[0]}_utt{key[1]}"
        seconds = _seconds(start, end)
        row = _Row(key, clip_id, split, file, number, text, speaker, emotion.lower(), seconds)
        if not corpus.usable(clip_id, f"{split.name}_dia{key[0]}", file, number):
            continue
        if key in rows:
            corpus.skip(clip_id, "labelled twice, first label kept", file, number)
        else:
            rows[key] = row
    return [row for row in rows.values() if _fits(corpus, row)]


def _fits(corpus: RawCorpus, row: _Row) -> bool:
    if row.emotion not in EMOTIONS:
        corpus.skip(row.clip_id, "unknown label", row.file, row.line, row.emotion[:80])
    elif not row.text:
        corpus.skip(row.clip_id, "empty transcript", row.file, row.line)
    elif not row.speaker:
        corpus.skip(row.clip_id, "unreadable label", row.file, row.line, "no speaker")
    else:
        return True
    return False


def decode(data: bytes) -> str:
    """Decode a label file: UTF-8, and Windows' code page where a line or a character is of that.

    Args:
        data: the file's content.

    Returns:
        Its text; no-break spaces are spaces.
    """
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    text = "\n".join(_decode_line(line) for line in lines)
    text = _CONTROLS.sub(lambda match: _windows(match[0].encode("latin-1")), text)
    return text.replace("\xa0", " ")


def _decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(_windows(bytes([value])) for value in line)


def _windows(value: bytes) -> str:
    """A byte of Windows' code page, or of Latin-1 where that has none."""
    try:
        return value.decode("cp1252")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _seconds(start: str, end: str) -> float | None:
    """How long a line says that its utterance lasts; None: its times are none."""
    times = []
    for text in (start, end):
        match = _TIME.fullmatch(text)
        if match is None:
            return None
        hours, minutes, seconds = map(int, match.groups()[:3])
        times.append(3600 * hours + 60 * minutes + seconds + float(f"0.{match[4] or 0}"))
    return times[1] - times[0] if times[1] > times[0] else None


def _no_video(corpus: RawCorpus, row: _Row, videos: _Videos) -> None:
    name = row.clip_id.removeprefix(f"{row.split.name}_")
    folder = videos.folders[0] if videos.folders else corpus.root / row.split.folder
    similar = [file.name for file in videos.others if file.stem == _REPEATED + name]
    detail = f"{similar[0]} is there: rename it if it is the clip" if similar else ""
    corpus.skip(row.clip_id, "no video file", folder / f"{name}.mp4", detail=detail)


def _note_copies(corpus: RawCorpus) -> None:
    """Note which clips of a split have the same video: their labels may differ, it cannot."""
    sizes = defaultdict(list)
    for utterance in corpus.utterances:
        assert utterance.video is not None
        sizes[utterance.split, utterance.video.stat().st_size].append(utterance)
    groups = defaultdict(list)
    for alike in sizes.values():
        if len(alike) > 1:
            for utterance in alike:
                assert utterance.video is not None
                groups[utterance.split, sha256(utterance.video)].append(utterance.clip_id)
    same = [" = ".join(sorted(clips)) for clips in groups.values() if len(clips) > 1]
    if same:
        corpus.notes.append(f"clips with the same video, byte for byte: {'; '.join(sorted(same))}")


def _note_unlabelled(
    corpus: RawCorpus, videos: dict[str, _Videos], labelled: set[tuple[str, _Key]]
) -> None:
    for split in SPLITS:
        found = videos[split.name]
        files = [file for key, file in found.items() if (split.name, key) not in labelled]
        names = sorted(file.stem for file in [*files, *found.others])
        if names:
            corpus.notes.append(
                f"passed over {len(names)} videos of {split.folder} that no line labels: "
                f"{some(names)}"
            )
