"""How each emotion sounds: pitch, energy, tempo, voice quality and the shape of its accents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from mesm.corpora.miniature.emotions import NEUTRAL

Shape = Literal["flat", "fall", "rise", "arch", "wave"]


@dataclass(frozen=True)
class Prosody:
    """A manner of speaking.

    Attributes:
        pitch: semitones above the speaker's own.
        swing: semitones an accent moves by.
        shape: in which an accent moves.
        energy: dB above neutral.
        tempo: syllables a second.
        pause: seconds, between some syllables.
        tension: -1 lax to 1 tense; how much of the high harmonics the voice has.
        breath: share of noise in the voice.
        attack: share of a syllable in which it reaches full strength.
        accents: share of accented syllables.
        cue: what carries the emotion in an accent; None for a manner without accents.
        band: of the accents, in Hz; a "pitch" accent's follows from the pitch instead.
        breath_cue: a sigh, gasp or laugh before the words.
        breath_band: of it, in Hz.
        breath_gain: of it, in dB.
        jitter: irregularity of the pitch, in semitones.
        tremor: depth of a 7.5 Hz tremble, in semitones.
        creak: 0 to 1, how far every other glottal pulse is missing in accents.
        smile: 0 to 1, raises the formants.
    """

    pitch: float = 0.0
    swing: float = 0.0
    shape: Shape = "flat"
    energy: float = 0.0
    tempo: float = 4.3
    pause: float = 0.1
    tension: float = 0.0
    breath: float = 0.05
    attack: float = 0.2
    accents: float = 0.35
    cue: str | None = None
    band: tuple[float, float] = (0.0, 0.0)
    breath_cue: str | None = None
    breath_band: tuple[float, float] = (0.0, 0.0)
    breath_gain: float = 0.0
    jitter: float = 0.05
    tremor: float = 0.0
    creak: float = 0.0
    smile: float = 0.0


PROSODY: Final[dict[str, Prosody]] = {
    NEUTRAL: Prosody(),
    "angry": Prosody(
        pitch=3.5, swing=-4.0, shape="fall", energy=9.0, tempo=5.6, pause=0.05, tension=1.0,
        attack=0.04, accents=0.45, cue="energy", band=(1000.0, 5000.0), jitter=0.4,
    ),
    "excited": Prosody(
        pitch=8.0, swing=7.0, shape="arch", energy=5.0, tempo=6.4, pause=0.02, tension=0.4,
        attack=0.1, accents=0.45, cue="pitch", smile=0.5,
    ),
    "frustrated": Prosody(
        pitch=-1.0, swing=-5.0, shape="fall", energy=2.0, tempo=4.6, pause=0.22, tension=0.6,
        attack=0.1, accents=0.35, cue="pitch", breath_cue="sigh", breath_band=(600.0, 3500.0),
        breath_gain=3.0, jitter=0.25,
    ),
    "happy": Prosody(
        pitch=4.5, swing=5.0, shape="wave", energy=2.5, tempo=4.8, pause=0.08, tension=0.1,
        accents=0.45, cue="pitch", breath_cue="laugh", breath_band=(500.0, 2500.0),
        breath_gain=2.0, smile=1.0,
    ),
    "sad": Prosody(
        pitch=-3.5, swing=-5.0, shape="fall", energy=-7.0, tempo=2.5, pause=0.3, tension=-1.0,
        breath=0.3, attack=0.4, accents=0.5, cue="pitch",
    ),
    "disgusted": Prosody(
        pitch=-4.0, swing=-3.0, shape="fall", energy=1.0, tempo=3.2, pause=0.1, tension=0.5,
        attack=0.3, accents=0.5, cue="creak", band=(60.0, 2500.0), jitter=0.6, creak=0.9,
    ),
    "fear": Prosody(
        pitch=7.0, swing=2.0, shape="rise", energy=-2.0, tempo=6.0, pause=0.16, tension=-0.3,
        breath=0.25, accents=0.45, cue="pitch", tremor=1.5,
    ),
    "surprised": Prosody(
        pitch=4.0, swing=11.0, shape="rise", energy=4.0, tempo=4.0, pause=0.12, accents=0.45,
        cue="pitch", breath_cue="gasp", breath_band=(1200.0, 6000.0), breath_gain=3.0,
    ),
    "calm": Prosody(
        pitch=-2.0, swing=2.5, shape="wave", energy=-4.0, tempo=3.2, pause=0.25, tension=-0.6,
        breath=0.15, attack=0.35, accents=0.5, cue="pitch",
    ),
}  # fmt: skip


def accent_shape(shape: Shape, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where an accent of a shape is, for x from 0 (its start) to 1 (its end)."""
    if shape == "flat":
        return np.zeros_like(x)
    if shape in ("rise", "fall"):
        return x
    if shape == "arch":
        return np.sin(np.pi * x)
    return np.sin(2 * np.pi * x)
