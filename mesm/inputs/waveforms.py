"""The sound of a recording, at 16 kHz and mono: from sound files, and from videos' containers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from mesm.inputs.spectrograms import SAMPLE_RATE, AudioError, check_samples
from mesm.inputs.video import VideoError, decode, default_stream, opened, origin_of

# A recording may end this much before a clip does: aligners place words up to half a second off.
LONGEST_LACK = 0.5
# Samples per second: telephones have 8,000, studios 192,000. Far outside, a header is damaged, and
# its rate would move every clip to another place.
RATES = (4_000, 768_000)
# Containers round the times of packets, many to milliseconds; a jump in time is longer.
LEAST_JUMP = 0.05
# Endings of the files that soundfile reads; all others are containers, which FFmpeg reads.
SOUND_FILES = {
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"),
    *(".rf64", ".snd", ".w64", ".wav"),
}


# (n,), in -1 to 1.
Waveform = npt.NDArray[np.float32]


class ShortSoundError(AudioError):
    """A recording that ends before a clip begins, or too long before the clip ends."""


class Stretch(NamedTuple):
    """A part of a recording: from when to when, in seconds."""

    start: float
    end: float


def read_waveform(
    path: Path,
    start: float,
    end: float,
    channel: int | None = None,
    channels: int | None = None,
) -> Waveform:
    """Read a part of a recording at 16 kHz, mono.

    Args:
        path: a sound file, or a video or another container with a sound.
        start: seconds, at least 0, from where the first of the file's streams begins.
        end: seconds, after the start; the recording may end up to 0.5 s before.
        channel: which channel; None: the mean of all.
        channels: how many the recording must have; None: any number.

    Returns:
        (n,) float32 in -1 to 1; silence before a container's sound begins.

    Raises:
        ShortSoundError: the recording ends before the start, or more than 0.5 s before the end.
        AudioError: the file cannot be read, has no sound, no such channel or another number of
            them, a rate outside 4 kHz to 768 kHz, a gap of more than 0.5 s in the part, or samples
            that are not finite or beyond 1e6; names it. Or start and end are no part of a
            recording.
    """
    (found,) = read_waveforms(path, [Stretch(start, end)], channel, channels)
    if isinstance(found, AudioError):
        raise found
    return found


def read_waveforms(
    path: Path, parts: Sequence[Stretch], channel: int | None = None, channels: int | None = None
) -> list[Waveform | AudioError]:
    """As `read_waveform` for several parts of one recording; a container is decoded once.

    Returns:
        For every part its waveform, or why there is none.
    """
    found = dict(each_waveform(path, parts, channel, channels))
    return [found[number] for number in range(len(parts))]


def each_waveform(
    path: Path, parts: Sequence[Stretch], channel: int | None = None, channels: int | None = None
) -> Iterator[tuple[int, Waveform | AudioError]]:
    """As `read_waveforms`, each part as soon as it is decoded; then nothing is kept of it.

    So the memory is that of the parts that go on at one moment, however long the recording is.

    Yields:
        The number of a part, and its waveform or why there is none. Where times go back, as in
        damaged containers, a part may come again in the end: that is then the right one.
    """
    if path.suffix.lower() not in SOUND_FILES:
        yield from _of_container(path, parts, channel, channels)
        return
    for number, part in enumerate(parts):
        try:
            yield number, _of_sound_file(path, part, channel, channels)
        except AudioError as error:
            yield number, error


def _of_sound_file(
    path: Path, part: Stretch, channel: int | None, channels: int | None
) -> Waveform:
    import soundfile

    _check_part(path, part)
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            _check_format(path, rate, file.channels, channel, channels)
            _check_reach(path, file.frames / rate, part)
            first = min(round(part.start * rate), file.frames)
            file.seek(first)
            count = max(0, round(part.end * rate) - first)
            samples = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path} cannot be read as sound ({error})") from error
    return _at_16_khz(path, part, _mono(path, samples, channel), rate)


@dataclass(eq=False)
class _Piece:
    """A part while a container is decoded.

    Attributes:
        stretch: the part.
        first: number of its first sample in the recording.
        size: how many samples there are.
        samples: (size,), silent where nothing was decoded; None: before the first was decoded.
        until: how many there are up to the last that was decoded.
        gap: the longest stretch between two packets without a sound, in samples.
        failure: why it has no sound.
    """

    stretch: Stretch
    first: int
    size: int
    samples: Waveform | None = None
    until: int = 0
    gap: int = 0
    failure: AudioError | None = None

    def inside(self, start: int, end: int) -> tuple[int, int]:
        """From where to where in the part a stretch of the recording is; empty: it is not."""
        return max(start - self.first, 0), min(end - self.first, self.size)

    def add(
        self, path: Path, place: int, heard: npt.NDArray[np.float32], channel: int | None
    ) -> None:
        """Put decoded samples (n, channels) where their time says."""
        low, high = self.inside(place, place + len(heard))
        if low >= high or self.failure is not None:
            return
        offset = self.first - place
        if self.samples is None:
            self.samples = np.zeros(self.size, np.float32)
        try:
            self.samples[low:high] = _mono(path, heard[low + offset : high + offset], channel)
        except AudioError as error:
            self.failure = error
        self.until = max(self.until, high)

    def ends_before(self, place: int, length: float) -> bool:
        """Whether it is whole where so many samples, and so many seconds, are decoded."""
        return self.first + self.size <= place and self.stretch.start < length

    def lose(self, start: int, end: int) -> None:
        """Note that the recording has no sound in a stretch between two packets."""
        low, high = self.inside(start, end)
        self.gap = max(self.gap, high - low)

    def waveform(self, path: Path, rate: int, length: float) -> Waveform | AudioError:
        """The part at 16 kHz, or why there is none; the sound lasts so many seconds at least."""
        part = self.stretch
        if self.failure is not None:
            return self.failure
        try:
            _check_reach(path, length, part)
            if self.gap > LONGEST_LACK * rate:
                raise AudioError(
                    f"{path} has no sound for {self.gap / rate:.2f} s within the clip from "
                    f"{part.start:.2f} s to {part.end:.2f} s: it is damaged"
                )
            heard = np.zeros(0, np.float32) if self.samples is None else self.samples
            return _at_16_khz(path, part, heard[: self.until], rate)
        except AudioError as error:
            return error


def _of_container(
    path: Path, parts: Sequence[Stretch], channel: int | None, channels: int | None
) -> Iterator[tuple[int, Waveform | AudioError]]:
    places: dict[Stretch, list[int]] = {}
    for number, part in enumerate(parts):
        try:
            _check_part(path, part)
        except AudioError as error:
            yield number, error
        else:
            places.setdefault(part, []).append(number)
    latest = max((part.end for part in places), default=0.0)
    wanted, hold = list(places), False
    while wanted:
        decoded = _Decoding(path, wanted, latest, channel, channels, hold)
        try:
            for part, found in decoded:
                for number in places[part]:
                    yield number, found
        except AudioError as error:
            for part in wanted:
                for number in places[part]:
                    yield number, error
            return
        wanted, hold = decoded.again, True


@dataclass
class _Decoding:
    """One decoding of a container: parts with their waveforms, or why they have none.

    Attributes:
        path: of the container.
        parts: of it that are wanted.
        latest: the second at which decoding ends.
        channel: as of `read_waveform`.
        channels: likewise.
        hold: whether all parts are given in the end, not as soon as they are whole.
        again: parts that were given too early, as times went back to them; there when all is done.
    """

    path: Path
    parts: Sequence[Stretch]
    latest: float
    channel: int | None
    channels: int | None
    hold: bool
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
            _check_format(path, rate, there, self.channel, self.channels)
            going = []
            for part in self.parts:
                first = round(part.start * rate)
                going.append(_Piece(part, first, round(part.end * rate) - first))
            given: list[_Piece] = []
            origin, expected, until = origin_of(container), 0, 0
            for number, frame in enumerate(decode(container, stream)):
                heard = _samples(frame)
                place = expected
                if frame.time is not None:
                    told = round((frame.time - origin) * rate)
                    place = told if abs(told - expected) > LEAST_JUMP * rate else expected
                changed = frame.sample_rate != rate or heard.shape[1] != there
                if min(place, expected) < until:
                    self._look_back(given, min(place, expected), place + len(heard), changed)
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
                ended = [piece for piece in going if piece.ends_before(expected, until / rate)]
                for piece in ended if not self.hold else ():
                    yield piece.stretch, piece.waveform(path, rate, until / rate)
                    piece.samples = None
                    going.remove(piece)
                    given.append(piece)
            for piece in going:
                yield piece.stretch, piece.waveform(path, rate, until / rate)
                piece.samples = None

    def _look_back(self, given: list[_Piece], start: int, end: int, changed: bool) -> None:
        """Note the parts that were given, and that a frame at earlier times may change."""
        for piece in [*given]:
            low, high = piece.inside(start, end)
            if low < high or (changed and low < piece.size):
                given.remove(piece)
                self.again.append(piece.stretch)


def _samples(frame: AudioFrame) -> Waveform:
    """A frame's samples (n, channels), full scale 1."""
    values = frame.to_ndarray()
    channels = frame.layout.nb_channels
    # Packed formats have one row in which channels take turns.
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    limits: np.iinfo[Any] = np.iinfo(values.dtype)
    middle = (limits.max + limits.min + 1) // 2
    return ((values.astype(np.float64) - middle) / (limits.max - middle + 1)).astype(np.float32)


def _check_part(path: Path, part: Stretch) -> None:
    if not 0 <= part.start < part.end < math.inf:
        raise AudioError(
            f"{path}: wanted a part from 0 s on, got {part.start:.2f} s to {part.end:.2f} s"
        )


def _check_format(
    path: Path, rate: int, there: int, channel: int | None, channels: int | None
) -> None:
    if channels is not None and there != channels:
        raise AudioError(f"{path} has {there} channel(s), wanted {channels}")
    if channel is not None and channel >= there:
        raise AudioError(f"{path} has {there} channel(s), none at index {channel}")
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{path} has {rate} samples per second, wanted {RATES[0]} to {RATES[1]}")


def _check_reach(path: Path, length: float, part: Stretch) -> None:
    """Refuse a sound of so many seconds that ends before a part begins, or long before its end."""
    if length < part.end - LONGEST_LACK or length <= part.start:
        clip = f"the clip goes from {part.start:.2f} s to {part.end:.2f} s"
        raise ShortSoundError(f"{path} ends at {length:.2f} s, {clip}")


def _mono(path: Path, samples: npt.NDArray[np.float32], channel: int | None) -> Waveform:
    """One channel of samples (n, channels), or the mean of all."""
    # Each channel, before the mean: opposite infinities would hide in one.
    check_samples(samples if channel is None else samples[:, channel], str(path))
    mono: npt.NDArray[np.float32] = samples.mean(axis=1) if channel is None else samples[:, channel]
    return mono


def _at_16_khz(path: Path, part: Stretch, waveform: npt.NDArray[np.float32], rate: int) -> Waveform:
    if len(waveform) == 0:
        raise AudioError(f"{path} has no sound from {part.start:.2f} s to {part.end:.2f} s")
    if rate != SAMPLE_RATE:
        import soxr

        waveform = soxr.resample(waveform, rate, SAMPLE_RATE)
    return np.ascontiguousarray(waveform, dtype=np.float32)
