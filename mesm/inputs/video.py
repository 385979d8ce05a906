"""Frames of a video at given instants, decoded as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# A frame that starts this much after an instant counts as shown at it: time bases are rounded.
ROUNDING = 1e-4
# How long a frame may stand for what follows it: half the distance between two sampled faces.
LONGEST_HOLD = 0.25


class VideoError(ValueError):
    """A video that cannot be opened, or has nothing to decode."""


def frames_at(
    path: Path, instants: Sequence[float]
) -> Iterator[tuple[int, npt.NDArray[np.uint8] | None]]:
    """Decode a video once and give the frame shown at each instant.

    A frame is shown from its own timestamp to the next frame's, so uneven and broken rates
    (29.97 per second) need no counting. Where frames are missing, one stands for at most 0.25 s.

    Args:
        path: the video file.
        instants: seconds from the start of the recording, ascending.

    Yields:
        Index of the instant, in order, and the frame (H, W, 3) uint8 RGB; None where the video has
        no frame: it is truncated or damaged there. One array may be given several times.

    Raises:
        VideoError: the file cannot be opened as a video; names it.
    """
    if any(late < early for early, late in pairwise(instants)):
        raise ValueError("instants must be ascending")
    try:
        container = av.open(str(path))
    except (OSError, ValueError) as error:
        raise VideoError(f"{path} cannot be opened as a video ({error})") from error
    with container:
        if not container.streams.video:
            raise VideoError(f"{path} has no video stream")
        stream = container.streams.video[0]
        # Dialogs are already spread over processes.
        stream.codec_context.thread_count = 1
        origin = (container.start_time or 0) / av.time_base
        hold = LONGEST_HOLD
        if stream.average_rate:
            hold = max(hold, 1.5 / float(stream.average_rate))
        index = 0
        shown: VideoFrame | None = None
        shown_at = 0.0
        image: npt.NDArray[np.uint8] | None = None
        for frame in _decode(container, stream):
            if frame.time is None:
                continue
            time = frame.time - origin
            if shown is not None and time <= shown_at:
                continue
            while index < len(instants) and instants[index] < time - ROUNDING:
                if shown is None:
                    # Recordings may start a little late; their first frame then stands in.
                    usable = time - instants[index] <= hold
                    yield index, _rgb(frame) if usable else None
                else:
                    usable = instants[index] - shown_at <= hold
                    if usable and image is None:
                        image = _rgb(shown)
                    yield index, image if usable else None
                index += 1
            if index == len(instants):
                return
            shown, shown_at, image = frame, time, None
        for late in range(index, len(instants)):
            usable = shown is not None and instants[late] - shown_at <= hold
            if usable and image is None and shown is not None:
                image = _rgb(shown)
            yield late, image if usable else None


def _rgb(frame: VideoFrame) -> npt.NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def _decode(container: av.container.InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode what can be decoded: damaged packets are passed over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (OSError, ValueError):
            return
        if packet is None:
            return
        if packet.is_corrupt:
            continue
        try:
            frames = packet.decode()
        except (OSError, ValueError):
            continue
        for frame in frames:
            if not frame.is_corrupt:
                yield frame
