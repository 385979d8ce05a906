"""Writes recordings as MELD has them on disk: one video per utterance, whose sound is in it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from mesm.corpora.miniature.media import STEREO, SURROUND, VideoFormat, write_video
from mesm.corpora.miniature.plan import DialogPlan, Planner, blind, mute
from mesm.corpora.miniature.recording import Recording

FOLDERS: Final = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
COLUMNS: Final = (
    *("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)
# The first six speak most of the lines; whether each has a high voice.
SPEAKERS: Final = {
    "Ross": False,
    "Rachel": True,
    "Joey": False,
    "Monica": True,
    "Chandler": False,
    "Phoebe": True,
    "Mr. Heckles": False,
    "Janice": True,
}
_FRIENDS: Final = 6
_GUEST: Final = 0.1
_LONGEST_DIALOG: Final = 5
_SURROUND_EACH: Final = 5
_SENTIMENTS: Final = {
    "joy": ("positive",),
    "neutral": ("neutral",),
    "surprise": ("positive", "negative"),
}

UNREADABLE: Final = "unreadable_video"
NO_VIDEO: Final = "missing_video"
NO_LABELS: Final = "no_labels"
CP1252: Final = "cp1252_text"
TOO_LONG: Final = "too_long_video"
NO_SOUND: Final = "missing_sound"
TWO_PEOPLE: Final = "two_people"
FAULTS: Final = {
    UNREADABLE: "train",
    NO_VIDEO: "dev",
    NO_LABELS: "train",
    CP1252: "train",
    TOO_LONG: "train",
    NO_SOUND: "test",
    TWO_PEOPLE: "test",
}
# Windows' apostrophe, dash and ellipsis, each byte taken for a character.
_FOREIGN: Final = "That\x92s it \x96 well\x85"
_MINUTES: Final = 125.0  # seconds
# Files that are no utterances: of another cutting, and of a Mac's file system.
STRAY_PREFIXES: Final = ("final_videos_test", "._")


class _Dialogs:
    """Numbers the utterances of a file, in dialogs of one to five."""

    def __init__(self, split: str, rng: np.random.Generator) -> None:
        self._split, self._rng = split, rng
        self._dialog, self._utterance, self._left = -1, 0, 0

    def next(self) -> str:
        """Name of the next utterance."""
        self._utterance += 1
        if self._left == 0:
            self._dialog, self._utterance = self._dialog + 1, 0
            self._left = int(self._rng.integers(1, _LONGEST_DIALOG + 1))
        self._left -= 1
        return f"{self._split}_dia{self._dialog}_utt{self._utterance}"


def plan_recordings(planner: Planner, clips: int, faults: bool) -> list[DialogPlan]:
    """Plan so many good clips, 70, 10 and 20 % in the three files, and one for each of `FAULTS`."""
    rng = planner.rng
    sizes = {"dev": max(round(0.1 * clips), clips > 1), "test": max(round(0.2 * clips), clips > 2)}
    sizes = {"train": clips - sum(sizes.values()), **sizes}
    numbers = {split: _Dialogs(split, rng) for split in FOLDERS}
    wanted: list[tuple[str, str | None]] = [(s, None) for s, n in sizes.items() for _ in range(n)]
    if faults:
        wanted += [(split, fault) for fault, split in FAULTS.items()]
    plans = []
    for split, fault in wanted:
        first, other = _two_speakers(rng)
        plan = planner.single(
            numbers[split].next(),
            first,
            high=_is_high(first),
            others=[(other, _is_high(other))] if fault == TWO_PEOPLE else [],
        )
        if fault is not None:
            _spoil(plan, fault)
        plans.append(plan)
    return plans


def _two_speakers(rng: np.random.Generator) -> tuple[int, int]:
    """A speaker, mostly one of the six, and one of those who stands beside."""
    guest = rng.random() < _GUEST
    first = int(rng.integers(_FRIENDS, len(SPEAKERS)) if guest else rng.integers(_FRIENDS))
    return first, (first + 1) % _FRIENDS


def _is_high(speaker: int) -> bool:
    return tuple(SPEAKERS.values())[speaker]


def _spoil(plan: DialogPlan, fault: str) -> None:
    (clip,) = plan.clips
    clip.fault = fault
    if fault == UNREADABLE:
        plan.truncated = True
    elif fault == NO_VIDEO:
        blind(plan)
    elif fault == NO_LABELS:
        clip.labelled = False
    elif fault == CP1252:
        clip.text = f"{_FOREIGN} {clip.text}"
    elif fault == TOO_LONG:
        plan.duration = _MINUTES
        plan.absences[0] = [(clip.end + 0.5, _MINUTES + 1)]
    elif fault == NO_SOUND:
        mute(plan)


def prepare_tree(root: Path) -> None:
    """Make the folders of the three files."""
    for folder in FOLDERS.values():
        (root / folder).mkdir()


def write_recording(
    root: Path, plan: DialogPlan, recording: Recording, filmed: VideoFormat
) -> Path:
    """Write an utterance's video; returns its path."""
    split, _, name = plan.name.partition("_")
    video = root / FOLDERS[split] / f"{name}.mp4"
    if not plan.unfilmed:
        stored = SURROUND if plan.index % _SURROUND_EACH == _SURROUND_EACH - 1 else STEREO
        sound = None if plan.silent else (stored, recording.sound.sum(1))
        write_video(video, recording.performances, plan.duration, filmed, sound)
    if plan.clips[0].fault == TWO_PEOPLE:
        cutting, macs = (video.with_name(prefix + video.name) for prefix in STRAY_PREFIXES)
        shutil.copyfile(video, cutting)
        macs.write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(58))
    return video


def write_labels(root: Path, plans: Sequence[DialogPlan], seed: int) -> None:
    """Write the three files of utterances, in order of dialog and utterance."""
    rng = np.random.default_rng([seed, 3])
    for split in FOLDERS:
        with (root / f"{split}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            rows = [row for plan in plans for row in _rows(plan, split, rng)]
            for number, row in enumerate(rows, start=1):
                writer.writerow({"Sr No.": number, **row})


def _rows(plan: DialogPlan, split: str, rng: np.random.Generator) -> list[dict[str, str | int]]:
    own, dialog, utterance = plan.name.split("_")
    (clip,) = plan.clips
    if own != split or not clip.labelled:
        return []
    (emotion,) = clip.emotions
    sentiments = _SENTIMENTS.get(emotion, ("negative",))
    number = int(dialog.removeprefix("dia"))
    place = int(utterance.removeprefix("utt"))
    # A dialog lies somewhere in an episode, and its utterances one after the other.
    start = 60.0 + 37 * (number % 30) + 4 * place + round(float(rng.uniform(0, 1)), 3)
    return [
        {
            "Utterance": clip.text,
            "Speaker": tuple(SPEAKERS)[plan.speakers[0]],
            "Emotion": emotion,
            "Sentiment": sentiments[rng.integers(len(sentiments))],
            "Dialogue_ID": number,
            "Utterance_ID": place,
            "Season": number % 9 + 1,
            "Episode": number % 24 + 1,
            "StartTime": _timecode(start),
            "EndTime": _timecode(start + clip.end),
        }
    ]


def _timecode(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"
