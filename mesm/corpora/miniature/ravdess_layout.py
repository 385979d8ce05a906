"""Writes recordings as RAVDESS has them on disk.

Each is there three times: 01 with pictures and sound, 02 with pictures, 03 with sound.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesm.corpora import ravdess
from mesm.corpora.miniature.emotions import EMOTIONS, NEUTRAL
from mesm.corpora.miniature.media import (
    STEREO,
    VideoFormat,
    copy_pictures,
    write_video,
    write_wav,
)
from mesm.corpora.miniature.plan import DialogPlan, Planner
from mesm.corpora.miniature.recording import Recording
from mesm.corpora.miniature.takes import Take, Takes

MOST_CLIPS: Final = 2400

NO_FULL_FILE: Final = "no_full_file"
UNREADABLE: Final = "unreadable_full_file"
COPIED: Final = "copied_files"
FAULTS: Final = (NO_FULL_FILE, UNREADABLE, COPIED)
# As some downloads unpack, beside the folders that everybody has.
COPIES: Final = "audio_speech_actors_01-24"
BAD_NAME: Final = "01-01-09-01-01-01-{actor:02d}.mp4"  # there is no ninth emotion


@dataclass(frozen=True)
class _Take(Take):
    channel: int = ravdess.SPEECH
    intensity: int = 1
    statement: int = 1
    repetition: int = 1

    def name(self, actor: int) -> str:
        """As files have it, without the modality."""
        emotion = EMOTIONS["ravdess"].index(self.emotion) + 1
        numbers = (self.channel, emotion, self.intensity, self.statement, self.repetition, actor)
        return "-".join(f"{number:02d}" for number in numbers)


def _script(actor: int) -> list[_Take]:
    return [
        _Take(emotion, channel == ravdess.SONG, channel, intensity, statement, repetition)
        for channel in (ravdess.SPEECH, ravdess.SONG)
        if channel == ravdess.SPEECH or actor != ravdess.SILENT_ACTOR
        for emotion in EMOTIONS["ravdess"][: None if channel == ravdess.SPEECH else ravdess.SUNG]
        for intensity in ((1,) if emotion == NEUTRAL else (1, 2))
        for statement in (1, 2)
        for repetition in (1, 2)
    ]


def plan_recordings(planner: Planner, clips: int, faults: bool) -> list[DialogPlan]:
    """Plan so many good clips, and one for each of `FAULTS`."""
    takes = Takes(range(1, ravdess.ACTORS + 1), _script, clips, planner.rng)
    plans = []
    for number in range(clips + len(FAULTS) * faults):
        fault = None if number < clips else FAULTS[number - clips]
        actor, take = takes.next(planner.next_emotion())
        plan = planner.single(
            take.name(actor),
            actor,
            high=actor % 2 == 0,
            emotion=take.emotion,
            text=ravdess.STATEMENTS[take.statement - 1],
        )
        plan.clips[0].fault = fault
        plan.truncated = fault == UNREADABLE
        plans.append(plan)
    return plans


def write_recording(
    root: Path, plan: DialogPlan, recording: Recording, filmed: VideoFormat
) -> Path:
    """Write a recording's three files; returns the path of the one with pictures and sound."""
    folder = root / f"Actor_{plan.speakers[0]:02d}"
    folder.mkdir(exist_ok=True)
    full, pictures = (folder / f"{modality}-{plan.name}.mp4" for modality in ("01", "02"))
    sound = folder / f"03-{plan.name}.wav"
    voice = recording.sound[:, 0]
    write_video(full, recording.performances, plan.duration, filmed, (STEREO, voice))
    copy_pictures(full, pictures)
    write_wav(sound, voice, studio=True)
    fault = plan.clips[0].fault
    if fault == NO_FULL_FILE:
        full.unlink()
    elif fault == COPIED:
        copies = root / COPIES / folder.name
        copies.mkdir(parents=True)
        for file in (full, sound):
            shutil.copyfile(file, copies / file.name)
        shutil.copyfile(pictures, folder / BAD_NAME.format(actor=plan.speakers[0]))
    return full
