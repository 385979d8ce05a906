"""The sound of a video's container, decoded once; each part is given as soon as it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.plane import AudioPlane

from mesm.inputs.sound_parts import (
    LONGEST_LACK,
    Stretch,
    Waveform,
    at_16_khz,
    check_format,
    check_reach,
    mono,
)
from mesm.inputs.spectrograms import AudioError
from mesm.inputs.video import VideoError, decode, default_stream, opened, origin_of

# Containers round the times of packets, many to milliseconds; a jump in time is longer.
LEAST_JUMP = 0.05
# NumPy's names of the kinds of samples that FFmpeg decodes to.
_KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}


@dataclass(eq=False)
class _Piece:
    """A part while a container is decoded.

    Attributes:
        stretch: the part.
        rate: samples per second of the recording.
        until: how many samples there are up to the last that was decoded.
        gap: the longest stretch between two packets without a sound, in samples.
        failure: why it has no sound.
        samples: (size,), silent where nothing was decoded; None: before the first was decoded.
    """

    stretch: Stretch
    rate: int
    until: int = 0
    gap: int = 0
    failure: AudioError | None = None
    samples: Waveform | None = None

    @cached_property
    def first(self) -> int:
        """The number of its first sample in the recording."""
        return round(self.stretch.start * self.rate)

    @cached_property
    def size(self) -> int:
        """How many samples it has."""
        return round(self.stretch.end * self.rate) - self.first

    def inside(self, start: int, end: int) -> tuple[int, int]:
        """From where to where in the part a stretch of the recording is; empty: it is not."""
        return max(start - self.first, 0), min(end - self.first, self.size)

    def add(self, path: Path, place: int, heard: Waveform, channel: int | None) -> None:
        """Put decoded samples (n, channels) where their time says."""
        low, high = self.inside(place, place + len(heard))
        if low >= high or self.failure is not None:
            return
        offset = self.first - place
        if self.samples is None:
            self.samples = np.zeros(self.size, np.float32)
        try:
            self.samples[low:high] = mono(path, heard[low + offset : high + offset], channel)
        except AudioError as error:
            self.failure = error
        self.until = max(self.until, high)

    def lose(self, start: int, end: int) -> None:
        """Note that the recording has no sound in a stretch between two packets."""
        low, high = self.inside(start, end)
        self.gap = max(self.gap, high - low)

    def is_whole(self, place: float, length: float) -> bool:
        """Whether all of it is there where so many samples, and so many seconds, are decoded."""
        return self.first + self.size <= place and self.stretch.start < length

    def waveform(self, path: Path, length: float, short: bool) -> Waveform | AudioError:
        """The part at 16 kHz, or why there is none; the sound lasts so many seconds at least."""
        part, rate = self.stretch, self.rate
        if self.failure is not None:
            return self.failure
        try:
            check_reach(path, length, part, short)
            if self.gap > LONGEST_LACK * rate:
                raise AudioError(
                    f"{path} has no sound for {self.gap / rate:.2f} s within the clip from "
                    f"{part.start:.2f} s to {part.end:.2f} s: it is damaged"
                )
            heard = np.zeros(0, np.float32) if self.samples is None else self.samples
            return at_16_khz(path, part, heard[: self.until], rate)
        except AudioError as error:
            return error


@dataclass
class Decoding:
    """One decoding of a container: its parts with their waveforms, or why they have none.

    Attributes:
        path: of the container.
        parts: of it that are wanted, each once.
        latest: the second at which decoding ends.
        channel: which channel; None: the mean of all.
        channels: how many the recording must have; None: any number.
        patience: seconds that are decoded beyond a part before it is given.
        short: whether a recording may end at any moment in a part.
        again: parts that were given too early, as times fell back to them by more than the
            patience; there when all is decoded.
    """

    path: Path
    parts: Sequence[Stretch]
    latest: float
    channel: int | None = None
    channels: int | None = None
    patience: float = 0.0
    short: bool = False
    again: list[Stretch] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[Stretch, Waveform | AudioError]]:
        """Decode; an AudioError where the container, or its sound, is none that can be read."""
        path = self.path
        try:
            container = opened(path)
        except (VideoError, OSError) as error:
            raise AudioError(f"{path} cannot be read as sound ({error})") from error
        with container:
            stream = default_stream(container.streams.audio)
            if stream is None:
                raise AudioError(f"{path} has no sound")
            if getattr(stream, "codec_context", None) is None:
                raise AudioError(
                    f"{path} has a sound of a codec that cannot be decoded; convert it (ffmpeg -i "
                    "IN -c:a aac OUT)"
                )
            rate, there = stream.rate or 0, stream.channels
            check_format(path, rate, there, self.channel, self.channels)
            waiting = [_Piece(part, rate) for part in self.parts]
            order = {id(piece): number for number, piece in enumerate(waiting)}
            waiting.sort(key=lambda piece: -piece.first)
            going: list[_Piece] = []
            given: list[_Piece] = []
            origin, expected, until = origin_of(container), 0, 0
            for number, frame in enumerate(decode(container, stream)):
                heard = decoded_samples(frame)
                place = expected
                if frame.time is not None:
                    told = round((frame.time - origin) * rate)
                    place = told if abs(told - expected) > LEAST_JUMP * rate else expected
                changed = frame.sample_rate != rate or heard.shape[1] != there
                if min(place, expected) < until:
                    self._look_back(given, min(place, expected), place + len(heard), changed)
                # An hour has thousands of parts, of which few are near.
                while waiting and (changed or waiting[-1].first <= place + len(heard)):
                    going.append(waiting.pop())
                    going.sort(key=lambda piece: order[id(piece)])
                for piece in going:
                    # Sound may begin late, which is silence; sound that is missing later was lost.
                    if number and place > expected:
                        piece.lose(expected, place)
                    if not changed:
                        piece.add(path, place, heard, self.channel)
                    elif piece.first + piece.size > place:
                        piece.failure = AudioError(
                            f"{path} changes its sound's format from {rate} samples a second and "
                            f"{there} channel(s) to {frame.sample_rate} and {heard.shape[1]}"
                        )
                if changed or place > self.latest * rate:
                    until = max(until, place)
                    break
                expected = place + len(heard)
                until = max(until, expected)
                sure = expected - self.patience * rate
                for piece in [one for one in going if one.is_whole(sure, until / rate)]:
                    yield piece.stretch, piece.waveform(path, until / rate, self.short)
                    piece.samples = None
                    going.remove(piece)
                    given.append(piece)
            for piece in sorted([*going, *waiting], key=lambda piece: order[id(piece)]):
                yield piece.stretch, piece.waveform(path, until / rate, self.short)
                piece.samples = None

    def _look_back(self, given: list[_Piece], start: int, end: int, changed: bool) -> None:
        """Note the parts that were given, and that a frame at earlier times may change."""
        for piece in [*given]:
            low, high = piece.inside(start, end)
            if low < high or (changed and low < piece.size):
                given.remove(piece)
                self.again.append(piece.stretch)


def decoded_samples(frame: AudioFrame) -> Waveform:
    """A frame's samples (n, channels), full scale 1."""
    channels, kind = frame.layout.nb_channels, _KINDS[frame.format.packed.name]
    # Not av's own arrays: of 8 planes and more, these read memory that is not the frame's.
    plane: Any = AudioPlane
    if frame.format.is_planar:
        each = [plane(frame, number) for number in range(channels)]
        values = np.stack([np.frombuffer(one, kind, frame.samples) for one in each], axis=1)
    else:  # one row in which channels take turns
        values = np.frombuffer(plane(frame, 0), kind, frame.samples * channels)
        values = values.reshape(-1, channels)
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    limits: np.iinfo[Any] = np.iinfo(values.dtype)
    middle = (limits.max + limits.min + 1) // 2
    return ((values.astype(np.float64) - middle) / (limits.max - middle + 1)).astype(np.float32)
