"""Speech-like sound: a glottal source through formants, with consonants, pauses and prosody.

Each emotion changes pitch, energy and tempo of the whole utterance a little, and of a few accented
syllables a lot; the accents (and the sighs, gasps and laughs beside them) are the localised cues.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter, sosfilt

from mesm.corpora.miniature.emotions import mood
from mesm.corpora.miniature.prosody import PROSODY, Prosody, accent_shape

SAMPLE_RATE = 16_000
_LEVEL = 0.07  # amplitude of a neutral voice
_OVERLAP = int(0.012 * SAMPLE_RATE)

Signal: TypeAlias = npt.NDArray[np.float64]

# F1 to F3 of vowels, in Hz, for a vocal tract of average length.
_VOWELS = np.array(
    [
        (730, 1090, 2440),
        (530, 1840, 2480),
        (270, 2290, 3010),
        (570, 840, 2410),
        (300, 870, 2240),
        (660, 1720, 2410),
        (490, 1350, 1690),
    ],
    float,
)
_BANDWIDTHS = np.array([80.0, 100.0, 140.0, 250.0])


@dataclass(frozen=True)
class Voice:
    """A speaker's voice: base pitch in Hz, length of the vocal tract against the average."""

    pitch: float
    tract: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, high: bool) -> Voice:
        """A voice at random, of the higher or the lower register."""
        pitch, tract = ((175, 225), (0.84, 0.94)) if high else ((98, 135), (0.98, 1.08))
        return cls(float(rng.uniform(*pitch)), float(rng.uniform(*tract)))


@dataclass(frozen=True)
class Cue:
    """When in the sound, and in which band, something tells the emotion."""

    start: float
    end: float
    low_hz: float
    high_hz: float
    cue: str


@dataclass
class Speech:
    """One utterance.

    Attributes:
        samples: mono, 16 kHz.
        syllables: (start, end, loudness 0 to 1), seconds from the utterance's start.
        cues: seconds from the utterance's start.
    """

    samples: Signal
    syllables: list[tuple[float, float, float]] = field(default_factory=list)
    cues: list[Cue] = field(default_factory=list)


@dataclass
class _Syllable:
    start: float
    end: float
    prosody: Prosody
    accented: bool
    vowel: int
    consonant: str


def speak(
    duration: float, emotions: tuple[str, ...], voice: Voice, rng: np.random.Generator
) -> Speech:
    """Say something in one or more moods.

    Args:
        duration: seconds.
        emotions: heard one after the other; "neutral" is one of them.
        voice: of the speaker.
        rng: draws syllables, accents and noise.
    """
    out = Speech(np.zeros(round(duration * SAMPLE_RATE)))
    edges = np.linspace(0.04, duration - 0.04, len(emotions) + 1)
    plan: list[_Syllable] = []
    for emotion, start, end in zip(emotions, edges[:-1], edges[1:], strict=True):
        prosody = PROSODY[mood(emotion)]
        if prosody.breath_cue is not None:
            start = _breath(out, prosody, float(start), rng)
        plan += _syllables(prosody, float(start), float(end), rng)
    pitch = _pitch(plan, len(out.samples), duration, voice, rng)
    bright, dark = _glottis(pitch)
    noise = rng.normal(0, 1, len(pitch))
    for syllable in plan:
        _utter(out, syllable, pitch, bright, dark, noise, voice, rng)
    out.samples = np.tanh(out.samples)
    return out


def _syllables(
    prosody: Prosody, start: float, end: float, rng: np.random.Generator
) -> list[_Syllable]:
    out = []
    time = start
    while time < end - 0.09:
        length = float(rng.uniform(0.85, 1.15)) / prosody.tempo
        stop = min(time + length, end)
        vowel, consonant = int(rng.integers(len(_VOWELS))), str(rng.choice(("s", "t", "m", "")))
        out.append(_Syllable(time, stop, prosody, False, vowel, consonant))
        pause = prosody.pause * float(rng.uniform(0.5, 1.5)) if rng.random() < 0.3 else 0.0
        time = stop + pause
    if prosody.cue is not None and out:
        count = max(1, round(prosody.accents * len(out)))
        for index in rng.choice(len(out), min(count, len(out)), replace=False):
            out[index].accented = True
    return out


def _pitch(
    plan: list[_Syllable], samples: int, duration: float, voice: Voice, rng: np.random.Generator
) -> Signal:
    """F0 per sample in Hz: the speaker's, moved by mood, declination, accents, tremor, jitter."""
    time = np.arange(0, duration, 0.005)
    semitones = -1.5 * time / duration
    for syllable in plan:
        prosody = syllable.prosody
        inside = (time >= syllable.start - 0.02) & (time < syllable.end + 0.02)
        x = np.clip((time[inside] - syllable.start) / (syllable.end - syllable.start), 0, 1)
        level = np.full(len(x), prosody.pitch * (1.0 if syllable.accented else 0.7))
        level += rng.normal(0, 0.35)
        if syllable.accented:
            level = level + prosody.swing * accent_shape(prosody.shape, x)
        if prosody.tremor:
            level = level + prosody.tremor * np.sin(2 * np.pi * 7.5 * time[inside])
        semitones[inside] += level + rng.normal(0, prosody.jitter, len(x))
    pitch = voice.pitch * 2 ** (semitones / 12)
    return np.interp(np.arange(samples) / SAMPLE_RATE, time, pitch).clip(60, 700)


def _glottis(pitch: Signal) -> tuple[Signal, Signal]:
    """Glottal flow derivative, tense and lax."""
    phase = np.cumsum(pitch / SAMPLE_RATE) % 1.0
    pulse = np.where(phase < 0.6, np.sin(np.pi * phase / 0.6) ** 2, 0.0)
    bright = np.diff(pulse - 0.6 * phase, prepend=0.0)
    bright = np.asarray(lfilter([1.0], [1.0, -0.72], bright))
    dark = np.asarray(lfilter([0.25], [1.0, -0.88], bright))
    return bright / (bright.std() + 1e-9), dark / (dark.std() + 1e-9)


def _utter(
    out: Speech,
    syllable: _Syllable,
    pitch: Signal,
    bright: Signal,
    dark: Signal,
    noise: Signal,
    voice: Voice,
    rng: np.random.Generator,
) -> None:
    prosody = syllable.prosody
    first = max(0, int(syllable.start * SAMPLE_RATE))
    last = min(len(pitch), int(syllable.end * SAMPLE_RATE) + _OVERLAP)
    part = slice(first, last)
    emphasis = 1.0 if syllable.accented else 0.6
    tension = float(np.clip(0.5 + 0.5 * prosody.tension * emphasis, 0, 1))
    source = tension * bright[part] + (1 - tension) * dark[part]
    if prosody.creak and syllable.accented:
        source = source * (1 - prosody.creak * (np.cumsum(pitch[part] / SAMPLE_RATE / 2) % 1 > 0.5))
    source = (1 - prosody.breath) * source + 0.8 * prosody.breath * noise[part]
    formants = _VOWELS[syllable.vowel] / voice.tract * (1 + 0.1 * prosody.smile)
    sound = _resonate(source, np.append(formants, 3600 / voice.tract))
    n = len(sound)
    attack = max(2, int(prosody.attack * n))
    envelope = np.minimum(1, np.arange(n) / attack) * np.minimum(1, (n - np.arange(n)) / (0.3 * n))
    gain = _LEVEL * 10 ** (prosody.energy * emphasis / 20)
    out.samples[part] += gain * envelope * sound / (sound.std() + 1e-9)
    _consonant(out, syllable.consonant, first, 0.5 * gain, rng)
    loudness = float(np.clip(0.6 + 0.05 * prosody.energy * emphasis, 0.25, 1))
    out.syllables.append((syllable.start, syllable.end, loudness))
    if syllable.accented and prosody.cue is not None:
        low, high = prosody.band
        if prosody.cue == "pitch":
            low, high = 0.9 * float(pitch[part].min()), 5 * float(pitch[part].max())
        out.cues.append(Cue(syllable.start, syllable.end, low, high, prosody.cue))


def _resonate(source: Signal, formants: Signal) -> Signal:
    """Send a source through a cascade of second-order resonators."""
    radius = np.exp(-np.pi * _BANDWIDTHS / SAMPLE_RATE)
    angle = 2 * np.pi * formants / SAMPLE_RATE
    sections = np.zeros((len(formants), 6))
    sections[:, 3] = 1.0
    sections[:, 4] = -2 * radius * np.cos(angle)
    sections[:, 5] = radius**2
    sections[:, 0] = sections[:, 3:].sum(1)
    return np.asarray(sosfilt(sections, source))


def _consonant(out: Speech, kind: str, first: int, gain: float, rng: np.random.Generator) -> None:
    if kind not in ("s", "t"):
        return
    n = min(int((0.07 if kind == "s" else 0.02) * SAMPLE_RATE), len(out.samples) - first)
    hiss = np.diff(rng.normal(0, 1, n + 1)) * np.hanning(n)
    out.samples[first : first + n] += 0.5 * gain * hiss


def _breath(out: Speech, prosody: Prosody, start: float, rng: np.random.Generator) -> float:
    """Put the sigh, gasp or laugh before the words; returns when they may begin."""
    name = prosody.breath_cue
    pulses, length = (3, 0.11) if name == "laugh" else (1, 0.3)
    low, high = prosody.breath_band
    centre, width = (low * high) ** 0.5, (high - low) / 2
    time = start
    for _ in range(pulses):
        first = int(time * SAMPLE_RATE)
        n = min(int(length * SAMPLE_RATE), len(out.samples) - first)
        if n <= 0:
            break
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        cosine = np.cos(2 * np.pi * centre / SAMPLE_RATE)
        air = lfilter([1.0, 0, -1.0], [1, -2 * radius * cosine, radius**2], rng.normal(0, 1, n))
        x = np.arange(n) / n
        swell = {"gasp": x**1.5 * (1 - x) ** 0.3, "sigh": x**0.3 * (1 - x)}.get(str(name))
        envelope = np.sin(np.pi * x) if swell is None else swell / swell.max()
        gain = _LEVEL * 10 ** (prosody.breath_gain / 20)
        out.samples[first : first + n] += gain * envelope * air / (air.std() + 1e-9)
        out.cues.append(Cue(time, time + n / SAMPLE_RATE, low, high, str(name)))
        time += length * (1.35 if pulses > 1 else 1.1)
    return time
