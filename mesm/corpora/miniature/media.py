"""Writes video and sound files: encoding only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, TypeAlias

import av
import numpy as np
import numpy.typing as npt
import soundfile
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from scipy.signal import resample_poly

from mesm.corpora.miniature.emotions import Layout
from mesm.corpora.miniature.performance import Performance
from mesm.corpora.miniature.speech import SAMPLE_RATE
from mesm.inputs.video import ROUNDING

Samples: TypeAlias = npt.NDArray[np.float64]


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
        late: milliseconds by which pictures come late or early, in turns; their file has times in
            whole milliseconds then. None: they come evenly.
    """

    width: int
    height: int
    panels: int
    rate: Fraction
    codec: str
    tag: str | None
    options: dict[str, str]
    sensor: tuple[int, int] | None = None
    late: tuple[int, ...] | None = None

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
# The pictures that the preparation looks at come in time: each third one.
CREMA_D_VIDEO: Final = VideoFormat(
    *(360, 270, 1, Fraction(6), "flv", None, {"flags": "+bitexact"}, (480, 360)),
    late=(0, 23, -17),
)
VIDEOS: Final[dict[Layout, VideoFormat]] = {
    "iemocap": IEMOCAP_VIDEO,
    "mosei": MOSEI_VIDEO,
    "meld": MOSEI_VIDEO,
    "ravdess": MOSEI_VIDEO,
    "crema_d": CREMA_D_VIDEO,
}

# A speaker is drawn in every frame, a listener in every third.
_LISTENER_STEP: Final = 3
_SECONDS_PER_KEY_FRAME: Final = 2
_MILLISECOND: Final = Fraction(1, 1000)


@dataclass(frozen=True)
class SoundFormat:
    """How a video's container stores its sound, at 48 kHz.

    Attributes:
        codec: FFmpeg's name of the encoder.
        layout: FFmpeg's name of the channels.
        gains: of the voice, in each channel.
        options: of the encoder.
    """

    codec: str
    layout: str
    gains: tuple[float, ...]
    options: dict[str, str]


STEREO: Final = SoundFormat(
    "aac", "stereo", (1.0, 1.0), {"flags": "+bitexact", "aac_coder": "fast"}
)
# As in films, voices come mostly from the middle.
SURROUND: Final = SoundFormat(
    "ac3", "5.1(side)", (0.7, 0.7, 1.0, 0.0, 0.3, 0.3), {"flags": "+bitexact"}
)
STUDIO_RATE: Final = 48_000


def drawn_time(time: float, video: VideoFormat) -> float:
    """The time at which the speaker's picture that a video shows at some time was drawn."""
    # The reader lets a frame start this much after an instant; both must mean the same frame.
    return _middle(int((time + ROUNDING) * video.rate), video)


def _middle(frame: int, video: VideoFormat) -> float:
    """A frame shows the middle of its time, so that pictures are neither early nor late."""
    return float((frame + Fraction(1, 2)) / video.rate)


def write_video(
    path: Path,
    performances: Sequence[Performance],
    duration: float,
    video: VideoFormat,
    sound: tuple[SoundFormat, Samples] | None = None,
) -> None:
    """Film people side by side.

    Args:
        path: ends with .avi, .mp4 or .flv.
        performances: one per panel, the left one first.
        duration: seconds.
        video: size, rate and codec.
        sound: (frames,) at 16 kHz, and how the file has it; None: the file has pictures only.
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
        if video.late is not None:
            context.time_base = _MILLISECOND
        track = None if sound is None else _add_sound(container, sound[0])
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
                frame.time_base = _MILLISECOND if video.late else 1 / video.rate
            frame.pts = _presented(index, video)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None and sound is not None:
            container.mux(track.encode(_heard(*sound)))
            container.mux(track.encode(None))


def copy_pictures(source: Path, path: Path) -> None:
    """Write a video's pictures, as they are, into a file without sound."""
    with (
        av.open(str(source)) as whole,
        av.open(str(path), "w", options={"fflags": "+bitexact"}) as silent,
    ):
        stream = whole.streams.video[0]
        copied = silent.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            # The last one is empty, and tells that there are no more.
            if packet.dts is not None:
                packet.stream = copied
                silent.mux(packet)


def _presented(index: int, video: VideoFormat) -> int:
    """When a picture is shown, in units of its time base."""
    if video.late is None:
        return index
    return round(index / video.rate / _MILLISECOND) + video.late[index % len(video.late)]


def _add_sound(container: OutputContainer, sound: SoundFormat) -> AudioStream:
    stream = container.add_stream(
        sound.codec, rate=STUDIO_RATE, layout=sound.layout, options=sound.options
    )
    assert isinstance(stream, AudioStream)
    stream.codec_context.thread_count = 1
    return stream


def _heard(sound: SoundFormat, samples: Samples) -> av.AudioFrame:
    """All of a sound in the channels of its file."""
    channels = np.outer(sound.gains, _for_studio(samples))
    frame = av.AudioFrame.from_ndarray(
        channels.astype(np.float32), format="fltp", layout=sound.layout
    )
    frame.sample_rate, frame.pts = STUDIO_RATE, 0
    frame.time_base = Fraction(1, STUDIO_RATE)
    return frame


def _for_studio(samples: Samples) -> Samples:
    return np.clip(resample_poly(samples, STUDIO_RATE // SAMPLE_RATE, 1, axis=0), -1, 1)


def write_wav(path: Path, samples: Samples, *, studio: bool = False) -> None:
    """Write 16-bit PCM, from (frames,) or (frames, channels) at 16 kHz between -1 and 1.

    Args:
        path: of the file.
        samples: that are heard.
        studio: write 48 kHz, not 16.
    """
    if studio:
        samples = _for_studio(samples)
    rate = STUDIO_RATE if studio else SAMPLE_RATE
    soundfile.write(str(path), samples, rate, subtype="PCM_16", format="WAV")
