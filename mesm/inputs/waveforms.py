"""The sound of a recording, at 16 kHz and mono: from sound files, and from videos' containers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from mesm.inputs.spectrograms import SAMPLE_RATE, AudioError, check_samples
from mesm.inputs.video import (
    LONGEST_HOLD,
    VideoError,
    decode,
    default_stream,
    opened,
    origin_of,
)

# A recording may end this much before a clip does: aligners place words up to half a second off.
LONGEST_LACK = 0.5
# Samples per second: telephones have 8,000, studios 192,000. Far outside, a header is damaged, and
# its rate would move every clip to another place.
RATES = (4_000, 768_000)
# Containers round the times of packets, many to milliseconds; a jump in time is longer.
LEAST_JUMP = 0.05
# Seconds that are decoded beyond a part before it is given: times may fall back by so much.
PATIENCE = 1.0
# Endings of the files that soundfile reads; all others are containers, which FFmpeg reads.
SOUND_FILES = {
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"),
    *(".rf64", ".snd", ".w64", ".wav"),
}


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
) -> npt.NDArray[np.float32]:
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


def heard_until(part: Stretch, samples: int) -> float:
    """Tell at which second a clip ends for its pictures.

    No frame is looked for after the end of the sound, to which a late end is clamped.

    Args:
        part: the clip.
        samples: of its waveform at 16 kHz.
    """
    heard = part.start + samples / SAMPLE_RATE
    return part.end if part.end <= heard + LONGEST_HOLD else heard


def stream_waveforms(
    path: Path, parts: Sequence[Stretch], *, short: bool = False
) -> Iterator[npt.NDArray[np.float32] | AudioError]:
    """As `read_waveforms`, part by part while a container is decoded once: for long recordings.

    Args:
        path: a sound file, or a video or another container with a sound.
        parts: by rising starts.
        short: whether a recording may end at any moment in a part, of which the rest is left out.

    Yields:
        For every part in turn its waveform, the mean of all channels, or why there is none.
    """
    if path.suffix.lower() not in SOUND_FILES:
        yield from _stream_container(path, parts, short)
        return
    for part in parts:
        try:
            yield _of_sound_file(path, part, None, None, short)
        except AudioError as error:
            yield error


def read_waveforms(
    path: Path, parts: Sequence[Stretch], channel: int | None = None, channels: int | None = None
) -> list[npt.NDArray[np.float32] | AudioError]:
    """As `read_waveform` for several parts of one recording; a container is decoded once.

    Returns:
        For every part its waveform, or why there is none.
    """
    if path.suffix.lower() not in SOUND_FILES:
        return _of_container(path, parts, channel, channels)
    found: list[npt.NDArray[np.float32] | AudioError] = []
    for part in parts:
        try:
            found.append(_of_sound_file(path, part, channel, channels))
        except AudioError as error:
            found.append(error)
    return found


def _of_sound_file(
    path: Path, part: Stretch, channel: int | None, channels: int | None, short: bool = False
) -> npt.NDArray[np.float32]:
    import soundfile

    _check_part(path, part)
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            _check_format(path, rate, file.channels, channel, channels)
            _check_reach(path, file.frames / rate, part, short)
            first = min(round(part.start * rate), file.frames)
            file.seek(first)
            count = max(0, round(part.end * rate) - first)
            samples = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path} cannot be read as sound ({error})") from error
    return _at_16_khz(path, part, _mono(path, samples, channel), rate)


@dataclass
class _Piece:
    """A part while a container is decoded.

    Attributes:
        stretch: the part.
        rate: samples per second of the recording.
        until: how many samples there are up to the last that was decoded.
        gap: the longest stretch between two packets without a sound, in samples.
        length: at which second the sound ends as far as it was decoded.
        failure: why it has no sound.
    """

    stretch: Stretch
    rate: int
    until: int = 0
    gap: int = 0
    length: float = 0.0
    failure: AudioError | None = None

    @cached_property
    def first(self) -> int:
        """The number of its first sample in the recording."""
        return round(self.stretch.start * self.rate)

    @cached_property
    def size(self) -> int:
        """How many samples it has."""
        return round(self.stretch.end * self.rate) - self.first

    @cached_property
    def samples(self) -> npt.NDArray[np.float32]:
        """Its samples (size,), silent where nothing was decoded; made when they are asked for."""
        return np.zeros(self.size, np.float32)

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
        try:
            self.samples[low:high] = _mono(path, heard[low + offset : high + offset], channel)
        except AudioError as error:
            self.failure = error
        self.until = max(self.until, high)

    def lose(self, start: int, end: int) -> None:
        """Note that the recording has no sound in a stretch between two packets."""
        low, high = self.inside(start, end)
        self.gap = max(self.gap, high - low)


def _of_container(
    path: Path, parts: Sequence[Stretch], channel: int | None, channels: int | None
) -> list[npt.NDArray[np.float32] | AudioError]:
    found: dict[Stretch, npt.NDArray[np.float32] | AudioError] = {}
    for part in parts:
        try:
            _check_part(path, part)
        except AudioError as error:
            found[part] = error
    wanted = [part for part in dict.fromkeys(parts) if part not in found]
    try:
        pieces = list(_decode_pieces(path, wanted, channel, channels))
    except AudioError as error:
        return [found.get(part, error) for part in parts]
    for piece in pieces:
        found[piece.stretch] = _waveform(path, piece)
    return [found[part] for part in parts]


def _stream_container(
    path: Path, parts: Sequence[Stretch], short: bool
) -> Iterator[npt.NDArray[np.float32] | AudioError]:
    given = 0
    try:
        for part in parts:
            _check_part(path, part)
        for piece in _decode_pieces(path, parts, None, None, PATIENCE):
            yield _waveform(path, piece, short)
            given += 1
    except AudioError as error:
        yield from [error] * (len(parts) - given)


def _waveform(
    path: Path, piece: _Piece, short: bool = False
) -> npt.NDArray[np.float32] | AudioError:
    part, rate = piece.stretch, piece.rate
    try:
        if piece.failure is not None:
            raise piece.failure
        _check_reach(path, piece.length, part, short)
        if piece.gap > LONGEST_LACK * rate:
            raise AudioError(
                f"{path} has no sound for {piece.gap / rate:.2f} s within the clip from "
                f"{part.start:.2f} s to {part.end:.2f} s: it is damaged"
            )
        return _at_16_khz(path, part, piece.samples[: piece.until], rate)
    except AudioError as error:
        return error


def _decode_pieces(
    path: Path,
    parts: Sequence[Stretch],
    channel: int | None,
    channels: int | None,
    patience: float = math.inf,
) -> Iterator[_Piece]:
    """The parts' sound, each once so many seconds beyond its end are decoded; all by the end.

    With a patience that is finite, parts must come by rising starts.
    """
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
                f"{path} has a sound of a codec that cannot be decoded; convert it (ffmpeg -i IN "
                "-c:a aac OUT)"
            )
        rate, there = stream.rate or 0, stream.channels
        _check_format(path, rate, there, channel, channels)
        waiting = [_Piece(part, rate) for part in parts]
        # All of them, or those that decoding has come to.
        pieces: list[_Piece] = []
        latest = max((part.end for part in parts), default=0.0)
        origin, expected, until = origin_of(container), 0, 0
        for number, frame in enumerate(decode(container, stream)):
            heard = decoded_samples(frame)
            place = expected
            if frame.time is not None:
                told = round((frame.time - origin) * rate)
                place = told if abs(told - expected) > LEAST_JUMP * rate else expected
            changed = frame.sample_rate != rate or heard.shape[1] != there
            while waiting and (
                math.isinf(patience) or waiting[0].first < max(place, expected) + len(heard)
            ):
                pieces.append(waiting.pop(0))
            for piece in pieces:
                # Sound may begin late, which is silence; sound that is missing later was lost.
                if number and place > expected:
                    piece.lose(expected, place)
                if not changed:
                    piece.add(path, place, heard, channel)
                elif piece.first + piece.size > place:
                    piece.failure = AudioError(
                        f"{path} changes its sound's format from {rate} samples a second and "
                        f"{there} channel(s) to {frame.sample_rate} and {heard.shape[1]}"
                    )
            if changed or place > latest * rate:
                until = max(until, place)
                break
            expected = place + len(heard)
            until = max(until, expected)
            while pieces and pieces[0].first + pieces[0].size + patience * rate < expected:
                pieces[0].length = until / rate
                yield pieces.pop(0)
    for piece in (*pieces, *waiting):
        piece.length = until / rate
        yield piece


def decoded_samples(frame: AudioFrame) -> npt.NDArray[np.float32]:
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


def _check_reach(path: Path, length: float, part: Stretch, short: bool = False) -> None:
    """Refuse a sound of so many seconds that ends before a part begins, or long before its end."""
    if (length < part.end - LONGEST_LACK and not short) or length <= part.start:
        clip = f"the clip goes from {part.start:.2f} s to {part.end:.2f} s"
        raise ShortSoundError(f"{path} ends at {length:.2f} s, {clip}")


def _mono(
    path: Path, samples: npt.NDArray[np.float32], channel: int | None
) -> npt.NDArray[np.float32]:
    """One channel of samples (n, channels), or the mean of all."""
    # Each channel, before the mean: opposite infinities would hide in one.
    check_samples(samples if channel is None else samples[:, channel], str(path))
    mono: npt.NDArray[np.float32] = samples.mean(axis=1) if channel is None else samples[:, channel]
    return mono


def _at_16_khz(
    path: Path, part: Stretch, waveform: npt.NDArray[np.float32], rate: int
) -> npt.NDArray[np.float32]:
    if len(waveform) == 0:
        raise AudioError(f"{path} has no sound from {part.start:.2f} s to {part.end:.2f} s")
    if rate != SAMPLE_RATE:
        import soxr

        waveform = soxr.resample(waveform, rate, SAMPLE_RATE)
    return np.ascontiguousarray(waveform, dtype=np.float32)
