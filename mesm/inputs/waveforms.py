"""The sound of a recording, at 16 kHz and mono: from sound files, and from videos' containers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from mesm.inputs.container_sound import Decoding
from mesm.inputs.sound_parts import (
    Stretch,
    Waveform,
    at_16_khz,
    check_format,
    check_part,
    check_reach,
    mono,
)
from mesm.inputs.spectrograms import SAMPLE_RATE, AudioError
from mesm.inputs.video import LONGEST_HOLD, Span, VideoError, read_spans

# Seconds that are decoded beyond a part before it is given in its turn: times may fall back so far.
PATIENCE = 1.0
# Endings of the files that soundfile reads, and FFmpeg where soundfile refuses one; all others are
# containers, which FFmpeg reads.
SOUND_FILES = {
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"),
    *(".rf64", ".snd", ".w64", ".wav"),
}


def sound_length(path: Path) -> float:
    """Seconds of a sound file's sound: as libsndfile reads it, else as FFmpeg does.

    Raises:
        AudioError: neither can open it; says libsndfile's reason.
    """
    import soundfile

    try:
        return float(soundfile.info(path).duration)
    except (soundfile.SoundFileError, OSError) as error:
        span = _span_by_ffmpeg(path)
        if span is None:
            raise AudioError(_reason(error)) from error
        return span.end or 0.0


def _reason(error: Exception) -> str:
    """Why libsndfile refuses a file that is there, without the file's name."""
    reason = str(getattr(error, "error_string", error)).rstrip(".")
    # As it says of what begins like no MP3.
    return "Format not recognised" if reason.startswith("File does not exist") else reason


def _span_by_ffmpeg(path: Path) -> Span | None:
    """When the sound of a file lasts that libsndfile refused; None: FFmpeg finds none either."""
    try:
        spans = read_spans(path)
    except (VideoError, OSError):
        return None
    # By its ending alone FFmpeg takes any bytes for FLAC, of no length.
    end = spans.sound and (spans.sound.end or spans.end)
    return Span(spans.sound.start, end) if spans.sound and end else None


def _is_sound_file(path: Path) -> bool:
    """Whether libsndfile reads a file: its ending says so, and FFmpeg does not alone open it."""
    import soundfile

    if path.suffix.lower() not in SOUND_FILES:
        return False
    try:
        soundfile.info(path)
    except (soundfile.SoundFileError, OSError):
        return _span_by_ffmpeg(path) is None
    return True


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
) -> Iterator[Waveform | AudioError]:
    """As `read_waveforms`, part by part while a container is decoded once: for long recordings.

    Args:
        path: a sound file, or a video or another container with a sound.
        parts: by rising starts.
        short: whether a recording may end at any moment in a part, of which the rest is left out.

    Yields:
        For every part in turn its waveform, the mean of all channels, or why there is none.
    """
    if not _is_sound_file(path):
        yield from _stream_container(path, parts, short)
        return
    for part in parts:
        try:
            yield _of_sound_file(path, part, None, None, short)
        except AudioError as error:
            yield error


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
    if not _is_sound_file(path):
        yield from _of_container(path, parts, channel, channels)
        return
    for number, part in enumerate(parts):
        try:
            yield number, _of_sound_file(path, part, channel, channels)
        except AudioError as error:
            yield number, error


def _of_sound_file(
    path: Path, part: Stretch, channel: int | None, channels: int | None, short: bool = False
) -> Waveform:
    import soundfile

    check_part(path, part)
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            check_format(path, rate, file.channels, channel, channels)
            check_reach(path, file.frames / rate, part, short)
            first = min(round(part.start * rate), file.frames)
            file.seek(first)
            count = max(0, round(part.end * rate) - first)
            samples = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path} cannot be read as sound ({error})") from error
    return at_16_khz(path, part, mono(path, samples, channel), rate)


def _of_container(
    path: Path, parts: Sequence[Stretch], channel: int | None, channels: int | None
) -> Iterator[tuple[int, Waveform | AudioError]]:
    places: dict[Stretch, list[int]] = {}
    for number, part in enumerate(parts):
        try:
            check_part(path, part)
        except AudioError as error:
            yield number, error
        else:
            places.setdefault(part, []).append(number)
    latest = max((part.end for part in places), default=0.0)
    wanted, patience = list(places), 0.0
    while wanted:
        decoding = Decoding(path, wanted, latest, channel, channels, patience)
        try:
            for part, found in decoding:
                for number in places[part]:
                    yield number, found
        except AudioError as error:
            for part in wanted:
                for number in places[part]:
                    yield number, error
            return
        # The second time nothing is given before the end.
        wanted, patience = decoding.again, math.inf


def _stream_container(
    path: Path, parts: Sequence[Stretch], short: bool
) -> Iterator[Waveform | AudioError]:
    """In the order of the parts, which may end in another."""
    ready: dict[Stretch, Waveform | AudioError] = {}
    left = list(parts)
    latest = max((part.end for part in parts), default=0.0)
    try:
        for part in parts:
            check_part(path, part)
        once = list(dict.fromkeys(parts))
        for part, found in Decoding(path, once, latest, patience=PATIENCE, short=short):
            ready[part] = found
            while left and left[0] in ready:
                first = left.pop(0)
                yield ready[first] if first in left else ready.pop(first)
    except AudioError as error:
        yield from [error] * len(left)
