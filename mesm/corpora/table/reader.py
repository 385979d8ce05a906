"""A table of clips to the readers' view of a corpus; all that is wrong is told at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from mesm.corpora.splits import SPLITS, SplitPolicy
from mesm.corpora.table.cells import read_emotions, read_text, read_time, read_truth, shown
from mesm.corpora.table.columns import (
    emotion_columns,
    near_pairs,
    nearest,
    parse_above,
    parse_labels,
)
from mesm.corpora.table.formats import Cell, Row, Table, peek_columns, read_rows, unit_of
from mesm.corpora.table.media import Media, MediaFiles
from mesm.corpora.table.problems import Problems
from mesm.corpora.table.splitting import check_speakers, check_splits
from mesm.corpora.utterances import RawCorpus, Utterance
from mesm.inputs.sound_parts import LONGEST_LACK
from mesm.runs.files import file_name

T = TypeVar("T")
SHORTEST = 0.1  # seconds of a clip
# Files from which a progress bar is worth its place.
MANY = 200


def own_split(file: Path) -> SplitPolicy:
    """As the column `split` says, where the table has one; else at random."""
    return "column" if "split" in peek_columns(file) else "random"


def read_table(
    file: Path,
    *,
    labels: str | None = None,
    above: float | str | None = None,
    name: str | None = None,
    split: SplitPolicy | None = None,
    seed: int = 0,
) -> RawCorpus:
    """Read a table of clips, and the headers of the media that it names.

    Args:
        file: CSV (with commas, semicolons or tabs), JSON Lines or Parquet; docs/own_corpus.md
            lists its columns.
        labels: the emotions in their order, as "happy,sad"; None: all there are, by name, or in
            the order of their columns.
        above: columns of emotions hold ratings, and those over this bound count.
        name: the corpus' title in tables.
        split: how clips are going to be split, so that a split without some emotion is told
            here; None: unknown.
        seed: of the split.

    Returns:
        The clips. Those with an emotion outside `labels` are left out, and counted.

    Raises:
        TableError: something is wrong with the table; lists it by line and column.
        ValueError: an option is, or the file is no table.
    """
    if name is not None and (not name.strip() or not name.isprintable() or "|" in name):
        raise ValueError(f"--name: wanted a title on one line, without |, got {shown(name)}")
    problems = Problems(file, unit_of(file))
    reading = _Reading(file, problems, parse_labels(labels), parse_above(above), split)
    reading.read(read_rows(file, problems))
    corpus = reading.corpus
    if "speaker" in reading.columns:
        check_speakers(corpus, reading.lines, problems)
    if not len(problems):
        # Without the lines that are wrong, emotions may lack that are there.
        check_splits(corpus, split, seed, problems)
    problems.refuse()
    corpus.title = name
    corpus.sort()
    return corpus


@dataclass
class _Clip:
    """A line while it is read: what is known of it before the other lines are."""

    row: Row
    video: str
    audio: str
    media: Media
    start: float | None
    end: float | None
    emotions: list[str]
    truths: tuple[int, ...]


@dataclass
class _Reading:
    file: Path
    problems: Problems
    labels: list[str] | None
    above: float | None
    split: SplitPolicy | None
    columns: list[str] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.corpus = RawCorpus("table", self.file.parent)
        self.media = MediaFiles(self.file.parent)
        self.places: dict[str, str] = {}
        self.emotion_columns: list[str] = []

    def read(self, table: Table) -> None:
        """Read all lines into the corpus, or note what is wrong with them."""
        if not table.columns:
            return
        self.columns = table.columns
        before = len(self.problems)
        self.emotion_columns, passed_over = emotion_columns(
            table.columns, self.labels, self.above, self.problems
        )
        if self.split == "column" and "split" not in table.columns:
            mend = "write it, or choose another --split"
            self.problems.add(self.problems.head, "split", f"there is no such column; {mend}")
        if len(self.problems) > before:
            # Without its columns each line would be wrong.
            return
        for name in passed_over:
            self.corpus.notes.append(f"passed over the column {name!r}")
        rows = tqdm(table.rows, "looking at media", disable=len(table.rows) < MANY, unit="clip")
        clips = [clip for clip in map(self._clip, rows) if clip is not None]
        emotions = self._emotions(clips)
        self._same_clips(clips)
        names = self._names(clips)
        for clip in clips:
            self._add(clip, names[clip.row.line], emotions)
        self.corpus.emotions = tuple(emotions)
        self.corpus.single_label = "emotion" in self.columns and all(
            sum(utterance.labels) == 1 for utterance in self.corpus.utterances
        )

    def _value(self, row: Row, column: str, read: Callable[[Cell], T], otherwise: T) -> T:
        """A cell's meaning; the other one where there is no such column, or it has none."""
        try:
            return read(row.cells.get(column))
        except (ValueError, OverflowError) as error:
            self.problems.add(row.line, column, error)
            return otherwise

    def _clip(self, row: Row) -> _Clip | None:
        before = len(self.problems)
        video = self._value(row, "video", read_text, "")
        audio = self._value(row, "audio", read_text, "")
        text = self._value(row, "text", read_text, "")
        start = self._value(row, "start", read_time, None)
        end = self._value(row, "end", read_time, None)
        none: list[str] = []
        emotions = self._value(row, "emotion", read_emotions, none)
        truths = tuple(
            self._value(row, name, lambda cell: read_truth(cell, self.above), 0)
            for name in self.emotion_columns
        )
        media = self.media.find(video, audio, lambda *told: self.problems.add(row.line, *told))
        if len(self.problems) > before or media is None:
            return None
        if not (media.audio or media.video or text):
            self.problems.add(row.line, None, "it has neither pictures nor sound nor text")
            return None
        if not (video or audio) and end is None:
            start = end = start or 0.0  # a text alone takes no time
        else:
            wrong = media.check(start, end) if video or audio else None
            first = (media.start if video or audio else 0.0) if start is None else start
            if wrong is None and end is not None and end <= first:
                wrong = "end", f"{end:g} s is not after its start, {first:g} s"
            if wrong is None and end is not None and end - first < SHORTEST:
                wrong = "end", f"the clip lasts {end - first:.2g} s, wanted at least {SHORTEST} s"
            if wrong is not None:
                self.problems.add(row.line, *wrong)
                return None
        return _Clip(row, video, audio, media, start, end, emotions, truths)

    def _emotions(self, clips: list[_Clip]) -> list[str]:
        if self.emotion_columns:
            return self.emotion_columns
        first: dict[str, int] = {}
        for clip in clips:
            for name in clip.emotions:
                first.setdefault(name, clip.row.line)
        if self.labels is None:
            near_pairs(list(first), list(first.values()), self.problems)
            return sorted(first)
        for name, line in first.items():
            meant = None if name in self.labels else nearest(name, self.labels)
            if meant is not None:
                told = f"{name!r} is nearly {meant!r} of --labels; write it so, or name both there"
                self.problems.add(line, "emotion", told)
        return self.labels

    def _same_clips(self, clips: list[_Clip]) -> None:
        seen: dict[tuple[str, ...], int] = {}
        for clip in clips:
            if not (clip.video or clip.audio):
                continue
            files = [self._place(name) if name else "" for name in (clip.video, clip.audio)]
            key = (*files, str(clip.start or 0.0), str(clip.end))
            if key in seen:
                told = f"the same media and times as {self.problems.unit} {seen[key]}"
                self.problems.add(clip.row.line, None, f"{told}; leave one of them out")
            seen.setdefault(key, clip.row.line)

    def _names(self, clips: list[_Clip]) -> dict[int, str]:
        """A clip's id by its line: its own, or of its file's name and a number."""
        recordings = self._recordings(clips)
        several = Counter(recordings.values())
        places: Counter[str] = Counter()
        names: dict[int, str] = {}
        for clip in clips:
            line, recording = clip.row.line, recordings[clip.row.line]
            places[recording] += 1
            name = recording if several[recording] == 1 else f"{recording}_{places[recording]}"
            if "id" in self.columns:
                name = self._named(clip.row, "id", "")
            names[line] = name
            if not name:
                continue
            self._check_name(name, line, "id")
            if name in self.lines:
                told = f"{name!r} is also that of {self.problems.unit} {self.lines[name]}"
                mend = "" if "id" in self.columns else "; write a column id"
                self.problems.add(line, "id", f"{told}{mend}")
            self.lines.setdefault(name, line)
        self.recordings = recordings
        return names

    def _place(self, name: str) -> str:
        """A file's path as it was first written: a link is the file that it leads to."""
        real = os.path.realpath(self.file.parent / name)
        return self.places.setdefault(real, os.path.normpath(name))

    def _recordings(self, clips: list[_Clip]) -> dict[int, str]:
        """Names of the clips' recordings, by line: of the files, with folders where needed."""
        files = {clip.row.line: self._place(clip.video or clip.audio) for clip in clips}
        texts = {clip.row.line for clip in clips if not (clip.video or clip.audio)}
        stems = Counter(Path(file).stem for file in set(files.values()))
        found = {}
        for line, file in files.items():
            place = Path(file)
            if line in texts:
                found[line] = f"{self.file.stem}_{line}"
            elif stems[place.stem] == 1:
                found[line] = place.stem
            else:
                folders = [part for part in place.parent.parts if part not in ("/", "..")]
                found[line] = "_".join([*folders, place.stem])
        return found

    def _check_name(self, name: str, line: int, column: str) -> None:
        try:
            file_name(name, column)
        except ValueError as error:
            self.problems.add(line, column, error)

    def _named(self, row: Row, column: str, otherwise: str) -> str:
        """A cell that must not be empty, where there is its column."""
        if column not in self.columns:
            return otherwise
        before = len(self.problems)
        name = self._value(row, column, read_text, "")
        if not name and len(self.problems) == before:
            self.problems.add(row.line, column, "it is empty; fill it, or leave the column out")
        return name

    def _add(self, clip: _Clip, name: str, emotions: list[str]) -> None:
        row, media = clip.row, clip.media
        recording = self.recordings[row.line]
        speaker = self._named(row, "speaker", recording)
        group = self._named(row, "group", recording)
        if group:
            self._check_name(group, row.line, "group")
        split = self._named(row, "split", "") if self.split == "column" else None
        if split is not None and split not in SPLITS:
            if split:
                wanted = f"wanted {', '.join(SPLITS)}, got {shown(split)}"
                self.problems.add(row.line, "split", wanted)
            return
        others = [one for one in clip.emotions if one not in emotions]
        if others:
            self.corpus.other_labels[others[0]] += 1
            return
        if not name:  # which was told
            return
        start, end = self._times(clip, name)
        self.corpus.utterances.append(
            Utterance(
                clip_id=name,
                dialog=group,
                speaker=speaker,
                start=start,
                end=end,
                text=read_text(row.cells.get("text")),
                labels=clip.truths or tuple(int(one in clip.emotions) for one in emotions),
                video=media.video,
                audio=media.audio,
                split=split,
            )
        )

    def _times(self, clip: _Clip, name: str) -> tuple[float, float]:
        """From when to when a clip goes; what is not written is as far as its files have all."""
        media = clip.media
        start = media.start if clip.start is None else clip.start
        end = media.end if clip.end is None else clip.end
        assert end is not None  # else `Media.check` refused it
        if clip.end is None and media.longest is not None and media.longest - end > LONGEST_LACK:
            self.corpus.notes.append(
                f"{name} goes to {end:.2f} s, where its sound or its pictures end; the others go "
                f"on to {media.longest:.2f} s"
            )
        return start, end
