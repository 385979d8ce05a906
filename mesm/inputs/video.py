"""Frames of a video at given instants, decoded as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from mesm.inputs.display import PictureError, to_rgb
from mesm.inputs.picture_times import mend_times
from mesm.runs.ordinary import ordinary

# A frame that starts this much after an instant counts as shown at it: time bases are rounded.
ROUNDING = 1e-4
# How long a frame may stand for what follows it: half the distance between two sampled faces.
LONGEST_HOLD = 0.25
# Seconds from frame to frame where a file does not tell its rate.
ORDINARY_INTERVAL = 1 / 25
# An encoder's delay of sound is counted below zero; at most this many seconds.
LONGEST_PRIMING = 0.1
# Streams of pictures that are no recording.
NO_VIDEO = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails

Media = TypeVar("Media", AudioStream, VideoStream)

# Formats that name other files, which would be read in place of the one that was named.
PLAYLISTS = ("concat", "dash", "hls", "imf", "sdp")

# FFmpeg's failures: av maps some to Python's own, and memory that is not there is one too.
DECODING = (av.FFmpegError, OSError, ValueError, MemoryError)


class VideoError(ValueError):
    """A video that cannot be opened, or has nothing to decode."""


class CutShortError(VideoError):
    """A video whose end, and with it its index, was never written or copied."""


@dataclass(frozen=True)
class Span:
    """From when to when a stream of a file lasts, in seconds; an end that is not told is None."""

    start: float
    end: float | None


@dataclass(frozen=True)
class Spans:
    """A video's sound and its pictures, as its header has them; None: there is no such.

    Attributes:
        sound: when the sound lasts.
        pictures: when the pictures last.
        end: when the file ends, in seconds; formats such as FLV tell it of no stream. None: it is
            not told.
    """

    sound: Span | None
    pictures: Span | None
    end: float | None = None


def read_spans(path: Path) -> Spans:
    """Read how long a video's sound and its pictures last; nothing is decoded.

    Args:
        path: the video file.

    Returns:
        Seconds from where the first of the file's streams begins, as in `frames_at`.

    Raises:
        VideoError: the file cannot be opened; names it.
    """
    with opened(path) as container:
        origin = origin_of(container)
        videos = [s for s in container.streams.video if not s.disposition & NO_VIDEO]
        return Spans(
            sound=_span(container, default_stream(container.streams.audio), origin),
            pictures=_span(container, default_stream(videos), origin),
            end=_end(container, origin),
        )


def frames_at(
    path: Path, instants: Sequence[float], threads: int = 1
) -> Iterator[tuple[int, npt.NDArray[np.uint8] | None]]:
    """Decode a video once and give the frame shown at each instant.

    A frame is shown from its own timestamp to the next frame's, so uneven and broken rates
    (29.97 per second) need no counting; times out of order are mended (`mend_times`). Where frames
    are missing, one stands for at most 0.25 s. Frames are as a viewer sees them (`to_rgb`): their
    pixels square, turned and mirrored as the file says. Covers are passed over; of several videos
    the one marked as default is taken.

    Args:
        path: the video file.
        instants: seconds, ascending, from where the first of the file's streams begins.
        threads: that decode; 0: as many as there are cores. Changes nothing in the frames.

    Yields:
        Index of the instant, in order, and the frame (H, W, 3) uint8 RGB; None where the video has
        no frame: it is truncated or damaged there. One array may be given several times.

    Raises:
        VideoError: the file cannot be opened as a video, or its pictures cannot be shown; names it.
    """
    if any(late < early for early, late in pairwise(instants)):
        raise ValueError("instants must be ascending")
    with opened(path) as container:
        stream = picture_stream(path, container)
        # Dialogs of a corpus are already spread over processes.
        stream.codec_context.thread_count = threads
        if threads != 1:
            stream.codec_context.thread_type = "AUTO"
        origin = origin_of(container)
        rate = stream.average_rate or stream.guessed_rate
        interval = 1 / float(rate) if rate else ORDINARY_INTERVAL
        hold = LONGEST_HOLD
        if stream.average_rate:
            hold = max(hold, 1.5 / float(stream.average_rate))
        index = 0
        shown: VideoFrame | None = None
        shown_at = 0.0
        image: npt.NDArray[np.uint8] | None = None
        decoded = (
            (None if frame.time is None else frame.time - origin, frame)
            for frame in decode(container, stream)
        )
        for time, frame in mend_times(decoded, interval):
            while index < len(instants) and instants[index] < time - ROUNDING:
                if shown is None:
                    # Recordings may start a little late; their first frame then stands in.
                    usable = time - instants[index] <= hold
                    yield index, _rgb(path, frame, stream) if usable else None
                else:
                    usable = instants[index] - shown_at <= hold
                    if usable and image is None:
                        image = _rgb(path, shown, stream)
                    yield index, image if usable else None
                index += 1
            if index == len(instants):
                return
            shown, shown_at, image = frame, time, None
        for late in range(index, len(instants)):
            usable = shown is not None and instants[late] - shown_at <= hold
            if usable and image is None and shown is not None:
                image = _rgb(path, shown, stream)
            yield late, image if usable else None


def _span(
    container: InputContainer, stream: AudioStream | VideoStream | None, origin: float
) -> Span | None:
    if stream is None:
        return None
    # A stream that tells no start begins with its file.
    start = 0.0
    if stream.start_time is not None and stream.time_base is not None:
        start = float(stream.start_time * stream.time_base) - origin
    if stream.duration is None or stream.time_base is None:
        return Span(start, None)
    length = float(stream.duration * stream.time_base)
    avi = container.format.name == "avi"
    if avi and isinstance(stream, VideoStream) and stream.frames and stream.average_rate:
        # FFmpeg's duration of an AVI file that was cut short is that of the rest. Frames of other
        # formats count, too, that are not shown.
        length = max(length, stream.frames / float(stream.average_rate))
    return Span(start, start + length)


def _end(container: InputContainer, origin: float) -> float | None:
    """When a file ends, from its origin on."""
    if not container.duration:
        return None
    length = container.duration / av.time_base
    if origin <= LONGEST_HOLD or container.format.name != "matroska,webm":
        return length
    # Matroska's length is counted from 0 by some writers, and from the first packet by others.
    last = 0.0
    try:
        container.seek(container.start_time + container.duration)
        for packet in container.demux():
            if packet.pts is not None and packet.time_base is not None:
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    except DECODING:
        pass
    return last - origin if last > origin else length


def default_stream(streams: Sequence[Media]) -> Media | None:
    """The stream that players choose: the first one marked as default, else the first."""
    first = next(iter(streams), None)
    return next((s for s in streams if s.disposition & Disposition.default), first)


def opened(path: Path) -> InputContainer:
    """Open a video; VideoError, with its name, where that cannot be."""
    try:
        container = av.open(ffmpeg_name(ordinary(path)))
    except DECODING as error:
        if _lacks_index(path):
            raise CutShortError(
                f"{path} is cut short: its index, which stands at its end, is missing; copy it "
                "again from where it is whole"
            ) from error
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{path} cannot be opened as a video ({reason})") from error
    if container.format.name in PLAYLISTS:
        container.close()
        raise VideoError(f"{path} is a list of other files; name these")
    return container


def _lacks_index(path: Path) -> bool:
    """Whether a file of the MP4 family ends before the box that says where its pictures are."""
    place, first = 0, True
    with suppress(OSError, ValueError), ordinary(path).open("rb") as file:  # or no file
        while len(head := file.read(16)) >= 8:
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if first and kind != b"ftyp":
                return False
            if kind == b"moov":
                return False
            if size == 1:
                size = int.from_bytes(head[8:], "big")
            first = False
            if size < 8:  # up to the file's end
                break
            place = file.seek(place + size)
        return not first
    return False


def ffmpeg_name(path: Path) -> str:
    """A file's name for FFmpeg, which takes what stands before a colon for a protocol."""
    return f"file:{path}" if ":" in str(path) else str(path)


def picture_stream(path: Path, container: InputContainer) -> VideoStream:
    """Choose the pictures that players show; VideoError if there are none that can be decoded."""
    stream = default_stream([s for s in container.streams.video if not s.disposition & NO_VIDEO])
    if stream is None:
        what = "no video stream" if not container.streams.video else "no video, only a still cover"
        raise VideoError(f"{path} has {what}; wanted a video")
    # av has no context of a codec that it cannot decode, though its annotations promise one.
    if getattr(stream, "codec_context", None) is None:
        raise VideoError(
            f"{path} has a video of a codec that cannot be decoded; convert it (ffmpeg -i IN -c:v "
            "libx264 OUT)"
        )
    return stream


def origin_of(container: InputContainer) -> float:
    """Give the seconds at which the recording begins: where its first stream does."""
    origin = (container.start_time or 0) / av.time_base
    # Decoders throw away the sound before 0, with which a codec only warms up.
    return 0.0 if -LONGEST_PRIMING < origin < 0 else origin


def _rgb(path: Path, frame: VideoFrame, stream: VideoStream) -> npt.NDArray[np.uint8]:
    try:
        return to_rgb(frame, stream.sample_aspect_ratio)
    except PictureError as error:
        raise VideoError(f"{path}: {error}") from error


def decode(container: InputContainer, stream: VideoStream | AudioStream) -> Iterator[Any]:
    """A stream's frames, as far as they can be decoded: damaged ones are passed over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except DECODING:
            return
        if packet is None:
            return
        if packet.is_corrupt:
            continue
        try:
            frames = packet.decode()
        except DECODING:
            continue
        for frame in frames:
            if isinstance(frame, VideoFrame | AudioFrame) and not frame.is_corrupt:
                yield frame
