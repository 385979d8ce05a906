"""Puts a planned recording on stage: who sits where, what is heard, what is seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mesm.corpora.miniature.action_units import ExpressionTrack
from mesm.corpora.miniature.face_painter import Looks, Scene
from mesm.corpora.miniature.media import VideoFormat
from mesm.corpora.miniature.performance import Performance, Turn, seat
from mesm.corpora.miniature.plan import DialogPlan
from mesm.corpora.miniature.speech import SAMPLE_RATE, Cue, Voice, speak

_NOISE = 0.0012  # amplitude of the room, about 33 dB under a neutral voice
_CROSSTALK = 0.05


@dataclass
class Recording:
    """A dialog ready to be written.

    Attributes:
        sound: (samples, speakers), 16 kHz, one channel per speaker.
        performances: one per speaker, the left one first.
        cues: per clip id, in seconds of the dialog.
    """

    sound: npt.NDArray[np.float64]
    performances: list[Performance]
    cues: dict[str, list[Cue]]


def stage(plan: DialogPlan, seed: int, video: VideoFormat) -> Recording:
    """Stage a recording.

    Args:
        plan: of the recording.
        seed: of the corpus; with the plan's index it fixes every random number.
        video: gives the size of each speaker's panel.
    """
    rng = np.random.default_rng([seed, 1, plan.index])
    people = [_person(seed, n, high) for n, high in zip(plan.speakers, plan.high, strict=True)]
    samples = round(plan.duration * SAMPLE_RATE)
    voices = np.zeros((samples, len(people)))
    turns: list[list[Turn]] = [[] for _ in people]
    cues: dict[str, list[Cue]] = {}
    for clip in plan.clips:
        cues[clip.clip_id] = []
        if clip.end <= clip.start:
            continue
        voice = people[clip.speaker][1]
        speech = speak(clip.end - clip.start, clip.shown["sound"], voice, rng)
        first = round(clip.start * SAMPLE_RATE)
        heard = speech.samples[: samples - first]
        voices[first : first + len(heard), clip.speaker] += heard
        cues[clip.clip_id] = [
            Cue(c.start + clip.start, c.end + clip.start, c.low_hz, c.high_hz, c.cue)
            for c in speech.cues
        ]
        track = ExpressionTrack(clip.expressions, clip.start, clip.end, rng)
        spoken = [(a + clip.start, b + clip.start, loud) for a, b, loud in speech.syllables]
        turns[clip.speaker].append(Turn(clip.start, clip.end, track, spoken))
    performances = [
        Performance(
            scene=Scene(looks, video.panel_width, video.height, rng, video.sensor),
            pose=seat(video.panel_width, video.height, rng),
            turns=turns[i],
            duration=plan.duration,
            rng=rng,
            absences=plan.absences.get(i, []),
        )
        for i, (looks, _) in enumerate(people)
    ]
    return Recording(_room(voices, rng), performances, cues)


def _person(seed: int, number: int, high: bool) -> tuple[Looks, Voice]:
    rng = np.random.default_rng([seed, 2, number])
    return Looks.draw(rng, long_hair=high), Voice.draw(rng, high=high)


def _room(voices: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Add noise, mains hum and a little of every voice to the other channel."""
    time = np.arange(len(voices))[:, None] / SAMPLE_RATE
    hiss = rng.normal(0, _NOISE * rng.uniform(0.6, 1.6), voices.shape)
    hum = 0.5 * _NOISE * np.sin(2 * np.pi * 50 * time + rng.uniform(0, 6.28, voices.shape[1]))
    leak = _CROSSTALK * (voices.sum(1, keepdims=True) - voices)
    return np.clip(voices + leak + hiss + hum, -1, 1)
