"""Writes video and sound files: encoding only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
import soundfile
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from mesm.corpora.miniature.emotions import Layout
from mesm.corpora.miniature.performance import Performance
from mesm.corpora.miniature.speech import SAMPLE_RATE
from mesm.inputs.video import ROUNDING


@dataclass(frozen=True)
class VideoFormat:
    """How a corpus stores its videos; every panel shows one person, side by side.

    Attributes:
        width: of the picture, in pixels; height likewise.
        panels: how many people are side by side.
        rate: frames per second.
        codec: FFmpeg's name of the encoder; tag: the file's name of the codec, None for FFmpeg's.
        options: of the encoder.
        sensor: columns and rows of the camera of each panel; None: those of the panel.
    """

    width: int
    height: int
    panels: int
    rate: Fraction
    codec: str
    tag: str | None
    options: dict[str, str]
    sensor: tuple[int, int] | None = None

    @property
    def panel_width(self) -> int:
        """Width of one person's part of the picture."""
        return self.width // self.panels


# A few pictures a second, as the preparation looks at one each half second.
IEMOCAP_VIDEO: Final = VideoFormat(
    480, 320, 2, Fraction(6000, 1001), "mpeg4", "DIVX", {"flags": "+bitexact"}, (360, 480)
)
MOSEI_VIDEO: Final = VideoFormat(
    480, 270, 1, Fraction(6), "libx264", None, {"preset": "ultrafast", "crf": "23"}, (640, 360)
)
VIDEOS: Final[dict[Layout, VideoFormat]] = {"iemocap": IEMOCAP_VIDEO, "mosei": MOSEI_VIDEO}

# A speaker is drawn in every frame, a listener in every third.
_LISTENER_STEP: Final = 3
_SECONDS_PER_KEY_FRAME: Final = 2


def drawn_time(time: float, video: VideoFormat) -> float:
    """The time at which the speaker's picture that a video shows at some time was drawn."""
    # The reader lets a frame start this much after an instant; both must mean the same frame.
    return _middle(int((time + ROUNDING) * video.rate), video)


def _middle(frame: int, video: VideoFormat) -> float:
    """A frame shows the middle of its time, so that pictures are neither early nor late."""
    return float((frame + Fraction(1, 2)) / video.rate)


def write_video(
    path: Path, performances: Sequence[Performance], duration: float, video: VideoFormat
) -> None:
    """Film people side by side.

    Args:
        path: ends with .avi or .mp4.
        performances: one per panel, the left one first.
        duration: seconds.
        video: size, rate and codec.
    """
    panels: list[npt.NDArray[np.uint8] | None] = [None] * len(performances)
    frame: av.VideoFrame | None = None
    reformatter = VideoReformatter()
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(video.codec, rate=video.rate, options=video.options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        stream.bit_rate = 2_000_000
        context = stream.codec_context
        context.thread_count = 1
        context.gop_size = round(_SECONDS_PER_KEY_FRAME * video.rate)
        if video.tag is not None:
            context.codec_tag = video.tag
        for index in range(round(duration * video.rate)):
            time = _middle(index, video)
            for side, performance in enumerate(performances):
                step = 1 if performance.is_speaking(time) else _LISTENER_STEP
                if panels[side] is None or index % step == 0:
                    panels[side] = performance.picture(time)
                    frame = None
            if frame is None:
                picture = np.concatenate([panel for panel in panels if panel is not None], axis=1)
                frame = reformatter.reformat(
                    av.VideoFrame.from_ndarray(picture, format="rgb24"),
                    format="yuv420p",
                    interpolation="FAST_BILINEAR",
                    threads=1,
                )
                frame.time_base = 1 / video.rate
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_wav(path: Path, samples: npt.NDArray[np.float64]) -> None:
    """Write 16-bit PCM at 16 kHz, from (frames,) or (frames, channels) between -1 and 1."""
    soundfile.write(str(path), samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
