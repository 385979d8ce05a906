"""How loud a recording is over time, and where its speech pauses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mesm.inputs.container_sound import decoded_samples
from mesm.inputs.spectrograms import POWER_FLOOR, AudioError
from mesm.inputs.video import VideoError, decode, default_stream, opened, origin_of

# Seconds of a value of loudness.
STEP = 0.05
# Between the quiet and the loud parts of a recording, from which share of the way speech counts.
SPEECH = 0.35
# Decibels between quiet and loud from which the quiet parts are known to be no speech.
LEAST_RANGE = 8.0
# Decibels below the loud parts from which nothing is speech.
SILENCE = 25.0
LEAST_PAUSE = 0.3
# Seconds after which a piece may end.
LEAST_PIECE = 2.0


class Pause(NamedTuple):
    """From when to when nobody speaks, in seconds."""

    start: float
    end: float

    @property
    def middle(self) -> float:
        """Where to cut."""
        return (self.start + self.end) / 2


def loudness(path: Path) -> npt.NDArray[np.float32]:
    """Decode a sound once and give its mean power per 50 ms; nothing else of it is kept.

    Args:
        path: any file with a sound that FFmpeg reads.

    Returns:
        (n,) float32 in decibels, full scale 0, from where the first of the file's streams begins;
        the mean over channels; -100 where there is no sound.

    Raises:
        AudioError: the file cannot be opened, or has no sound.
    """
    sums: dict[int, float] = {}
    counts: dict[int, int] = {}
    for start, rate, mono in _mono_blocks(path):
        step = max(1, round(STEP * rate))
        places = (start + np.arange(len(mono))) // step
        power = mono.astype(np.float64) ** 2
        first = int(places[0])
        totals = np.bincount(places - first, power).tolist()
        for place, total in enumerate(totals, first):
            sums[place] = sums.get(place, 0.0) + total
        for place, count in enumerate(np.bincount(places - first).tolist(), first):
            counts[place] = counts.get(place, 0) + count
    values = np.full(max(sums, default=-1) + 1, POWER_FLOOR)
    for place, total in sums.items():
        values[place] = max(total / counts[place], POWER_FLOOR)
    return (10 * np.log10(values)).astype(np.float32)


def _mono_blocks(path: Path) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
    """The place of a block's first sample, its rate, and the mean of its channels."""
    try:
        container = opened(path)
    except VideoError as error:
        raise AudioError(f"{path} cannot be read as sound ({error})") from error
    with container:
        stream = default_stream(container.streams.audio)
        if stream is None or getattr(stream, "codec_context", None) is None:
            raise AudioError(f"{path} has no sound that can be decoded")
        origin, expected = origin_of(container), 0.0
        for frame in decode(container, stream):
            time = expected if frame.time is None else max(0.0, frame.time - origin)
            mono = decoded_samples(frame).mean(axis=1)
            mono = np.nan_to_num(mono, nan=0.0, posinf=0.0, neginf=0.0)
            if len(mono):
                yield round(time * frame.sample_rate), frame.sample_rate, mono
            expected = time + len(mono) / frame.sample_rate


def pauses(decibels: npt.NDArray[np.float32]) -> list[Pause]:
    """Find the pauses of speech.

    Nothing that is 25 decibels below the loud twentieth of a recording is speech, and where its
    quiet tenth is 8 decibels below that or more, nothing in the lower 35 % of the way between.

    Args:
        decibels: (n,) that `loudness` gave.

    Returns:
        Those of at least 0.3 s, in order; none in recordings of even loudness.
    """
    if len(decibels) == 0:
        return []
    quiet, loud = np.percentile(decibels, [10, 95])
    limit = loud - SILENCE
    if loud - quiet >= LEAST_RANGE:
        limit = max(limit, quiet + SPEECH * (loud - quiet))
    silent = decibels <= limit
    edges = np.flatnonzero(np.diff(np.concatenate([[0], silent.astype(np.int8), [0]])))
    found = [Pause(start * STEP, end * STEP) for start, end in edges.reshape(-1, 2).tolist()]
    return [pause for pause in found if pause.end - pause.start >= LEAST_PAUSE - 1e-9]


def cut_at_pauses(
    start: float, end: float, decibels: npt.NDArray[np.float32], longest: float
) -> list[tuple[float, float]]:
    """Cut a recording into pieces that follow each other without a gap.

    A piece ends in the middle of the first pause of at least 0.3 s after its second second. Where
    none comes before `longest`, it ends at the quietest moment of its second half; without any
    sound, at `longest`. The last piece lasts at least 2 s, but for recordings that are shorter.

    Args:
        start: seconds.
        end: seconds, after the start.
        decibels: (n,) that `loudness` gave; empty: there is no sound.
        longest: seconds of a piece at most, at least 4.

    Returns:
        From when to when; each at most `longest`.
    """
    middles = [pause.middle for pause in pauses(decibels)]
    pieces, here = [], start
    while True:
        last = min(here + longest, end - LEAST_PIECE)
        cut = next((middle for middle in middles if here + LEAST_PIECE <= middle <= last), None)
        if cut is None and end - here <= longest:
            break
        if cut is None:
            first = int((here + longest / 2) / STEP)
            part = decibels[first : int(last / STEP)]
            cut = (first + int(part.argmin()) + 0.5) * STEP if len(part) else last
        pieces.append((here, cut))
        here = cut
    return [*pieces, (here, end)]
