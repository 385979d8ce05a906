"""Parts of recordings: what is refused, and how channels and rates become 16 kHz in one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mesm.inputs.sound_parts import (
    LONGEST_LACK,
    RATES,
    ShortSoundError,
    Stretch,
    at_16_khz,
    check_format,
    check_part,
    check_reach,
    mono,
)
from mesm.inputs.spectrograms import SAMPLE_RATE, AudioError

FILE = Path("talk.wav")


@pytest.mark.parametrize(
    ("start", "end"),
    [(-0.1, 1.0), (1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1.0), (0.0, math.nan)],
)
def test_a_part_begins_at_0_or_later_and_ends_after_that(start: float, end: float) -> None:
    with pytest.raises(AudioError, match=r"talk\.wav: wanted a part from 0 s on, got"):
        check_part(FILE, Stretch(start, end))


def test_a_part_of_a_moment_is_one() -> None:
    check_part(FILE, Stretch(0.0, 1e-4))
    check_part(FILE, Stretch(36_000.0, 36_000.5))


@pytest.mark.parametrize(
    ("rate", "there", "channel", "channels", "said"),
    [
        (48_000, 1, None, 2, r"has 1 channel\(s\), wanted 2"),
        (48_000, 2, 2, None, r"has 2 channel\(s\), none at index 2"),
        (RATES[0] - 1, 1, None, None, "has 3999 samples per second, wanted 4000 to 768000"),
        (RATES[1] + 1, 1, None, None, "has 768001 samples per second"),
        (0, 1, None, None, "has 0 samples per second"),
    ],
)
def test_a_format_that_is_not_wanted(
    rate: int, there: int, channel: int | None, channels: int | None, said: str
) -> None:
    with pytest.raises(AudioError, match=said) as told:
        check_format(FILE, rate, there, channel, channels)
    assert str(told.value).startswith("talk.wav ")


def test_formats_that_are_taken() -> None:
    for rate in (*RATES, 8_000, 44_100, 192_000):
        check_format(FILE, rate, 6, 5, 6)
        check_format(FILE, rate, 1, None, None)


def test_a_sound_may_end_half_a_second_before_its_part() -> None:
    part = Stretch(1.0, 3.0)
    check_reach(FILE, 3.0 - LONGEST_LACK, part)
    with pytest.raises(ShortSoundError, match=r"ends at 2\.49 s, the clip goes from 1\.00 s to 3"):
        check_reach(FILE, 3.0 - LONGEST_LACK - 0.01, part)


def test_a_recording_may_end_anywhere_in_a_part_where_that_is_told() -> None:
    part = Stretch(1.0, 3.0)
    check_reach(FILE, 1.01, part, short=True)
    for short in (True, False):  # there is nothing of the part
        with pytest.raises(ShortSoundError):
            check_reach(FILE, 1.0, part, short)
    # Half a second is more than all of a short part, which must begin all the same.
    with pytest.raises(ShortSoundError):
        check_reach(FILE, 1.0, Stretch(1.0, 1.2))


def test_channels_are_averaged_or_one_is_chosen() -> None:
    samples = np.array([[0.5, -0.25, 0.0], [1.0, 1.0, -0.5]], np.float32)
    assert mono(FILE, samples, None).tolist() == pytest.approx([0.25 / 3, 0.5])
    assert mono(FILE, samples, 1).tolist() == [-0.25, 1.0]
    assert mono(FILE, samples, None).dtype == np.float32


def test_what_one_channel_hides_of_another_is_refused() -> None:
    opposite = np.array([[np.inf, -np.inf], [0.0, 0.0]], np.float32)
    with pytest.raises(AudioError, match=r"talk\.wav holds"):
        mono(FILE, opposite, None)
    loud = np.array([[2e6, -2e6]], np.float32)  # whose mean is silence
    with pytest.raises(AudioError, match=r"talk\.wav holds"):
        mono(FILE, loud, None)
    # A channel that is not asked for does not matter.
    broken = np.array([[0.5, np.nan]], np.float32)
    assert mono(FILE, broken, 0).tolist() == [0.5]
    with pytest.raises(AudioError, match=r"talk\.wav holds NaN"):
        mono(FILE, broken, 1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 192_000])
def test_a_tone_keeps_its_height_and_its_time(rate: int) -> None:
    seconds, pitch = 1.0, 440.0
    times = np.arange(round(seconds * rate)) / rate
    heard = at_16_khz(FILE, Stretch(2.0, 3.0), np.sin(2 * np.pi * pitch * times), rate)
    assert heard.dtype == np.float32
    assert heard.flags.c_contiguous
    assert abs(len(heard) - SAMPLE_RATE * seconds) <= 1
    wanted = np.sin(2 * np.pi * pitch * np.arange(len(heard)) / SAMPLE_RATE)
    inside = slice(800, -800)  # the filter's ends
    assert np.abs(heard[inside] - wanted[inside]).max() < 2e-3


def test_at_its_own_rate_no_sample_changes() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    assert np.array_equal(at_16_khz(FILE, Stretch(0.0, 1.0), samples, SAMPLE_RATE), samples)


def test_no_samples_are_no_sound() -> None:
    with pytest.raises(AudioError, match=r"talk\.wav has no sound from 2\.00 s to 3\.00 s"):
        at_16_khz(FILE, Stretch(2.0, 3.0), np.zeros(0, np.float32), 44_100)
