"""Writes recordings as CREMA-D has them on disk."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mesm.corpora import crema_d
from mesm.corpora.miniature.emotions import EMOTIONS, NEUTRAL
from mesm.corpora.miniature.media import VideoFormat, write_video, write_wav
from mesm.corpora.miniature.plan import DialogPlan, Planner, blind, mute
from mesm.corpora.miniature.recording import Recording
from mesm.corpora.miniature.takes import Take, Takes

CODES: Final = dict(zip(EMOTIONS["crema_d"], crema_d.CODES, strict=True))
MOST_CLIPS: Final = 7400
ACTORS: Final = crema_d.ACTORS
# Only this sentence was said at three levels, and neutral at none.
_AT_LEVELS: Final = "IEO"
_LEVELS: Final = ("LO", "MD", "HI")
_NO_LEVEL: Final = "XX"

# The one recording that is silent in the real corpus, too.
SILENT_CLIP: Final = (1076, "MTI", "sad")
SILENT: Final = "silent_sound"
NO_WAV: Final = "missing_wav"
NO_FLV: Final = "missing_video"
UNREADABLE: Final = "unreadable_video"
FAULTS: Final = (SILENT, NO_WAV, NO_FLV, UNREADABLE)
BAD_NAME: Final = "1001_XYZ_ANG_XX.wav"  # no sentence has these letters

SOUNDS: Final = Path("AudioWAV")
VIDEOS: Final = Path("VideoFlash")
VOTES: Final = Path("processedResults/summaryTable.csv")
PEOPLE: Final = Path("VideoDemographics.csv")
_ASKED: Final = ("Vote", "Level")
_TIE: Final = 0.1
_RACES: Final = ("Caucasian", "African American", "Asian", "Unknown")


@dataclass(frozen=True)
class _Take(Take):
    sentence: str = ""
    level: str = _NO_LEVEL

    def name(self, actor: int) -> str:
        """As files have it."""
        return f"{actor}_{self.sentence}_{CODES[self.emotion]}_{self.level}"


def _script(actor: int) -> list[_Take]:
    return [
        _Take(emotion, sentence=sentence, level=level)
        for sentence in crema_d.SENTENCES
        for emotion in EMOTIONS["crema_d"]
        for level in (_LEVELS if sentence == _AT_LEVELS and emotion != NEUTRAL else (_NO_LEVEL,))
        if (actor, sentence, emotion) != SILENT_CLIP
    ]


def plan_recordings(planner: Planner, clips: int, faults: bool) -> list[DialogPlan]:
    """Plan so many good clips, and one for each of `FAULTS`."""
    takes = Takes(ACTORS, _script, clips, planner.rng)
    plans = []
    for number in range(clips + len(FAULTS) * faults):
        fault = None if number < clips else FAULTS[number - clips]
        if fault == SILENT:
            actor, sentence, emotion = SILENT_CLIP
            take = _Take(emotion, sentence=sentence)
        else:
            actor, take = takes.next(planner.next_emotion())
        plan = planner.single(
            take.name(actor),
            actor,
            high=_is_woman(actor),
            emotion=take.emotion,
            text=crema_d.SENTENCES[take.sentence],
        )
        if fault is not None:
            _spoil(plan, fault)
        plans.append(plan)
    return plans


def _spoil(plan: DialogPlan, fault: str) -> None:
    plan.clips[0].fault = fault
    if fault in (SILENT, NO_WAV):
        mute(plan)
    elif fault == NO_FLV:
        blind(plan)
    else:
        plan.truncated = True


def _is_woman(actor: int) -> bool:
    return actor % 2 == 0


def prepare_tree(root: Path) -> None:
    """Make the folders."""
    for folder in (SOUNDS, VIDEOS, VOTES.parent):
        (root / folder).mkdir()


def write_recording(
    root: Path, plan: DialogPlan, recording: Recording, filmed: VideoFormat
) -> Path:
    """Write a recording's sound and its pictures; returns the path of the pictures."""
    sound, video = root / SOUNDS / f"{plan.name}.wav", root / VIDEOS / f"{plan.name}.flv"
    fault, voice = plan.clips[0].fault, recording.sound[:, 0]
    if fault != NO_WAV:
        write_wav(sound, voice * (fault != SILENT))
    if plan.truncated:
        # Any picture of a longer beginning could still be read.
        video.touch()
    elif not plan.unfilmed:
        write_video(video, recording.performances, plan.duration, filmed)
    if fault == SILENT:
        write_wav(sound.with_name(BAD_NAME), voice)
    return video


def write_labels(root: Path, plans: Sequence[DialogPlan], seed: int) -> None:
    """Write what viewers voted, and who the actors are.

    Viewers hear and see what voice and face show, and of both together they believe the label;
    some votes are ties with another emotion.
    """
    rng = np.random.default_rng([seed, 3])
    columns = ["FileName"]
    columns += [f"{what}{value}" for what in ("Voice", "Face", "MultiModal") for value in _ASKED]
    with (root / VOTES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["", *columns])
        for number, plan in enumerate(plans, start=1):
            (clip,) = plan.clips
            shown = (*clip.shown["sound"], *clip.shown["face"], *clip.emotions)
            votes = [field for emotion in shown for field in _vote(emotion, rng)]
            writer.writerow([number, plan.name, *votes])
    with (root / PEOPLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["ActorID", "Age", "Sex", "Race", "Ethnicity"])
        for actor in sorted({plan.speakers[0] for plan in plans}):
            sex = "Female" if _is_woman(actor) else "Male"
            race = _RACES[rng.integers(len(_RACES))]
            writer.writerow([actor, int(rng.integers(20, 75)), sex, race, "Not Hispanic"])


def _vote(emotion: str, rng: np.random.Generator) -> tuple[str, str]:
    """The letter of what most viewers saw, or letters of a tie; and how strong it seemed, 0-100."""
    letters = {CODES[emotion][0]}
    if rng.random() < _TIE:
        letters.add(str(rng.choice([code[0] for code in CODES.values()])))
    levels = [f"{rng.uniform(30, 95):.6g}" for _ in letters]
    return ":".join(sorted(letters)), ":".join(levels)
