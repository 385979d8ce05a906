"""Parts of a recording's sound, whatever file it is in: what is refused, and how it is mixed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mesm.inputs.spectrograms import SAMPLE_RATE, AudioError, check_samples

# A recording may end this much before a clip does: aligners place words up to half a second off.
LONGEST_LACK = 0.5
# Samples per second: telephones have 8,000, studios 192,000. Far outside, a header is damaged, and
# its rate would move every clip to another place.
RATES = (4_000, 768_000)

# (n,), in -1 to 1.
Waveform = npt.NDArray[np.float32]


class ShortSoundError(AudioError):
    """A recording that ends before a clip begins, or too long before the clip ends."""


class Stretch(NamedTuple):
    """A part of a recording: from when to when, in seconds."""

    start: float
    end: float


def check_part(path: Path, part: Stretch) -> None:
    """Refuse, with an AudioError, what is no part of a recording."""
    if not 0 <= part.start < part.end < math.inf:
        raise AudioError(
            f"{path}: wanted a part from 0 s on, got {part.start:.2f} s to {part.end:.2f} s"
        )


def check_format(
    path: Path, rate: int, there: int, channel: int | None, channels: int | None
) -> None:
    """Refuse, with an AudioError, a rate or a number of channels that is not wanted.

    Args:
        path: of the recording.
        rate: samples per second.
        there: how many channels it has.
        channel: which one is wanted; None: all.
        channels: how many it must have; None: any number.
    """
    if channels is not None and there != channels:
        raise AudioError(f"{path} has {there} channel(s), wanted {channels}")
    if channel is not None and channel >= there:
        raise AudioError(f"{path} has {there} channel(s), none at index {channel}")
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{path} has {rate} samples per second, wanted {RATES[0]} to {RATES[1]}")


def check_reach(path: Path, length: float, part: Stretch, short: bool = False) -> None:
    """Refuse a sound that ends before a part begins, or more than `LONGEST_LACK` before its end.

    Args:
        path: of the recording.
        length: of its sound, in seconds.
        part: that is wanted.
        short: whether it may end at any moment in the part.

    Raises:
        ShortSoundError: it is refused.
    """
    if (length < part.end - LONGEST_LACK and not short) or length <= part.start:
        clip = f"the clip goes from {part.start:.2f} s to {part.end:.2f} s"
        raise ShortSoundError(f"{path} ends at {length:.2f} s, {clip}")


def mono(path: Path, samples: Waveform, channel: int | None) -> Waveform:
    """One channel of samples (n, channels), or the mean of all; AudioError if they are none."""
    # Each channel, before the mean: opposite infinities would hide in one.
    check_samples(samples if channel is None else samples[:, channel], str(path))
    mixed: Waveform = samples.mean(axis=1) if channel is None else samples[:, channel]
    return mixed


def at_16_khz(path: Path, part: Stretch, waveform: Waveform, rate: int) -> Waveform:
    """A part's samples (n,), resampled; AudioError if there are none."""
    if len(waveform) == 0:
        raise AudioError(f"{path} has no sound from {part.start:.2f} s to {part.end:.2f} s")
    if rate != SAMPLE_RATE:
        import soxr

        waveform = soxr.resample(waveform, rate, SAMPLE_RATE)
    return np.ascontiguousarray(waveform, dtype=np.float32)
