"""A recording with its emotions beside it: bars over time, and kept sites on the face."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from PIL import Image, ImageDraw, ImageFont

from mesm.inference.looking import Attention
from mesm.inference.recording import InputError, Recording, packets
from mesm.inference.results import Prediction
from mesm.inputs.display import to_rgb
from mesm.inputs.picture_times import mend_times
from mesm.inputs.video import (
    DECODING,
    default_stream,
    ffmpeg_name,
    opened,
    origin_of,
    picture_stream,
)
from mesm.runs.ordinary import naming

# Pixels: of the panel beside the pictures, of a bar, and of the pictures' least height.
PANEL, BAR, LEAST_HEIGHT = 260, 12, 240
# Likewise: of a course at least, and of the name above it.
LANE, NAME = 28, 11
CLOCK = 90_000
# Sound codecs whose packets an MP4 file takes as they are.
COPIED = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")
_INK, _FAINT = (34, 34, 34), (200, 200, 200)
_DECIDED, _OTHER, _RED = (213, 94, 0), (0, 114, 178), (227, 23, 10)
_FILM = ".mp4"


@dataclass(frozen=True)
class Shown:
    """A piece as it is shown: its prediction, and what the attention kept; None: no MESM's."""

    prediction: Prediction
    boxes: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64]
    kept: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, prediction: Prediction, attention: Attention | None) -> Shown:
        """The parts that a film needs, which take a kilobyte or two per face."""
        if attention is None or not attention.blocks.get("face"):
            return cls(prediction, np.empty((0, 4), np.float32), np.empty(0), np.empty(0, bool))
        piece = attention.piece
        return cls(prediction, piece.face_boxes, piece.face_times, attention.kept_by_all())


def check_film(file: Path) -> Path:
    """Refuse, with an InputError, a film that cannot be written."""
    if file.suffix.lower() != _FILM:
        raise InputError(f"--video {file}: wanted a file that ends with {_FILM}")
    if file.is_dir() or not file.absolute().parent.is_dir():
        what = "is a folder" if file.is_dir() else "is in a folder that is not there"
        raise InputError(f"--video {file} {what}; name a file in a folder that is there")
    return file


def write_film(out: Path, recording: Recording, pieces: Sequence[Shown]) -> None:
    """Write the recording with a panel of bars and their course; its sound is kept.

    It is decoded and written as a stream, beside the place, and renamed when it is whole.

    Args:
        out: ends with .mp4.
        recording: with pictures.
        pieces: by rising starts; of a piece, the first person's is shown.

    Raises:
        InputError: the recording has no pictures, or they cannot be decoded.
        OSError: the file cannot be written; nothing is left of it.
    """
    if not recording.pictures:
        raise InputError(f"{recording.path} has no pictures, so --video has nothing to show")
    beside = out.with_name(f".{out.name}.partial")
    try:
        with naming(out):
            _write(beside, recording, pieces)
            beside.replace(out)
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror, str(out)) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _write(file: Path, recording: Recording, pieces: Sequence[Shown]) -> None:
    with opened(recording.path) as source, av.open(ffmpeg_name(file), "w", format="mp4") as target:
        pictures = picture_stream(recording.path, source)
        origin = origin_of(source)
        rate = pictures.average_rate or pictures.guessed_rate or Fraction(25)
        video: Any = target.add_stream("libx264" if _has("libx264") else "mpeg4", rate=rate)
        video.pix_fmt = "yuv420p"
        sound = _Sound(default_stream(source.streams.audio), target, origin)
        panel = _Panel(recording, pieces)
        streams = [pictures, *([sound.source] if sound.source is not None else [])]

        def decoded() -> Iterator[tuple[float | None, av.VideoFrame]]:
            for packet in packets(source, streams):
                if packet.stream is not pictures:
                    sound.take(packet)
                    continue
                with suppress(*DECODING):
                    for frame in packet.decode():
                        yield (None if frame.time is None else frame.time - origin), frame

        number = 0
        for time, frame in mend_times(decoded(), 1 / float(rate)):
            image = panel.draw(to_rgb(frame, pictures.sample_aspect_ratio), time)
            if not number:
                video.height, video.width = image.shape[:2]
                video.codec_context.time_base = Fraction(1, CLOCK)
                sound.begin()
            if image.shape[:2] != (video.height, video.width):  # the pictures change their size
                image = np.asarray(Image.fromarray(image).resize((video.width, video.height)))
            drawn = av.VideoFrame.from_ndarray(image, "rgb24")
            drawn.pts, drawn.time_base = round(max(time, 0.0) * CLOCK), Fraction(1, CLOCK)
            target.mux(video.encode(drawn))
            number += 1
        if not number:
            raise InputError(f"{recording.path}: none of its pictures can be decoded")
        target.mux(video.encode())
        sound.end()


def _has(codec: str) -> bool:
    return codec in av.codecs_available


class _Sound:
    """The recording's sound in the film: copied where MP4 takes its codec, else as AAC.

    It waits for the first picture, whose size the film's head tells.
    """

    def __init__(self, source: AudioStream | None, target: OutputContainer, origin: float) -> None:
        there = source is not None and getattr(source, "codec_context", None) is not None
        self.source = source if there else None
        self.target, self.origin = target, origin
        self.encoder: Any = None
        self.copy: Any = None
        self.waiting: list[Packet] | None = []
        if self.source is None:
            return
        if self.source.codec_context.name in COPIED:
            self.copy = target.add_stream_from_template(self.source)
        else:
            rate = self.source.rate if 8000 <= self.source.rate <= 96_000 else 48_000
            self.encoder = target.add_stream("aac", rate=rate)
            self.encoder.layout = "stereo" if self.source.channels > 1 else "mono"
            self.resampler = av.AudioResampler("fltp", self.encoder.layout, rate, 1024)

    def begin(self) -> None:
        """Put what waits into the film, and all that follows at once."""
        waiting, self.waiting = self.waiting or [], None
        for packet in waiting:
            self.take(packet)

    def take(self, packet: Packet) -> None:
        """Put a packet into the film."""
        if self.waiting is not None:
            self.waiting.append(packet)
            return
        if self.copy is not None:
            if packet.dts is None or packet.time_base is None:
                return
            shift = round(self.origin / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts -= shift
            packet.stream = self.copy
            self.target.mux(packet)
            return
        with suppress(*DECODING):
            frames: Any = packet.decode()
            for frame in frames:
                if frame.pts is not None and frame.time_base is not None:
                    frame.pts -= round(self.origin / frame.time_base)
                    if frame.pts < 0:
                        continue
                for part in self.resampler.resample(frame):
                    self.target.mux(self.encoder.encode(part))

    def end(self) -> None:
        """Write what is left of it."""
        if self.encoder is not None:
            for part in self.resampler.resample(None):
                self.target.mux(self.encoder.encode(part))
            self.target.mux(self.encoder.encode())


class _Panel:
    """Draws what is beside a picture, and on it."""

    def __init__(self, recording: Recording, pieces: Sequence[Shown]) -> None:
        first: dict[float, Shown] = {}
        for shown in pieces:
            first.setdefault(shown.prediction.start, shown)
        self.pieces = sorted(first.values(), key=lambda shown: shown.prediction.start)
        self.starts = [shown.prediction.start for shown in self.pieces]
        self.start, self.end = recording.start, recording.end
        self.font, self.small = ImageFont.load_default(11), ImageFont.load_default(9)

    def draw(self, picture: npt.NDArray[np.uint8], time: float) -> npt.NDArray[np.uint8]:
        """The picture (H, W, 3) at a time, with the panel at its right; even sides."""
        shown = self._at(time)
        image = picture.copy()
        if shown is not None:
            _redden(image, shown, time)
        scale = max(1, -(-LEAST_HEIGHT // image.shape[0]))
        image = image.repeat(scale, axis=0).repeat(scale, axis=1)
        names = list(self.pieces[0].prediction.probabilities) if self.pieces else []
        lanes = 24 + len(names) * (BAR + 8) + 12 + len(names) * LANE
        height = max(image.shape[0], lanes)
        height += height % 2
        width = image.shape[1] + PANEL + (image.shape[1] + PANEL) % 2
        canvas = np.full((height, width, 3), 255, np.uint8)
        canvas[: image.shape[0], : image.shape[1]] = image
        panel = Image.fromarray(canvas)
        if names:
            self._bars(ImageDraw.Draw(panel), names, shown, time, image.shape[1], height)
        return np.asarray(panel)

    def _at(self, time: float) -> Shown | None:
        """The latest piece that goes on."""
        place = bisect_right(self.starts, time + 1e-6) - 1
        if place >= 0 and time <= self.pieces[place].prediction.end + 1e-6:
            return self.pieces[place]
        return None

    def _bars(
        self,
        to: Any,
        names: Sequence[str],
        shown: Shown | None,
        time: float,
        left: int,
        height: int,
    ) -> None:
        x, wide = left + 90, PANEL - 135
        for line, name in enumerate(names):
            y = 12 + line * (BAR + 8)
            to.text((left + 8, y), name[:13], fill=_INK, font=self.font)
            to.rectangle((x, y, x + wide, y + BAR), outline=_FAINT)
            if shown is None:
                continue
            one = shown.prediction
            value = one.probabilities[name]
            colour = _DECIDED if name in one.decided else _OTHER
            to.rectangle((x, y, x + round(wide * value), y + BAR), fill=colour)
            to.text((x + wide + 6, y), f"{100 * value:.0f} %", fill=_INK, font=self.font)
            if one.thresholds:
                at = x + round(wide * one.thresholds[name])
                to.line((at, y - 2, at, y + BAR + 2), fill=_INK)
        top = 24 + len(names) * (BAR + 8)
        step = (height - top - 12) / len(names)
        for line, name in enumerate(names):
            self._course(to, name, left + 8, top + line * step, step - 4)
        share = min(max((time - self.start) / (self.end - self.start), 0.0), 1.0)
        at = left + 8 + round((PANEL - 16) * share)
        to.line((at, top, at, height - 12), fill=_RED)

    def _course(self, to: Any, name: str, left: float, top: float, high: float) -> None:
        """One emotion over the whole recording, a step per piece."""
        wide, length = PANEL - 16, self.end - self.start
        to.text((left, top), name[:20], fill=_INK, font=self.small)
        # Bars stand below their name.
        top, high = top + NAME, max(high - NAME, 1.0)
        to.line((left, top + high, left + wide, top + high), fill=_FAINT)
        for shown in self.pieces:
            one = shown.prediction
            ends = [left + wide * (t - self.start) / length for t in (one.start, one.end)]
            colour = _DECIDED if name in one.decided else _OTHER
            up = top + high * (1 - one.probabilities[name])
            to.rectangle((ends[0], min(up, top + high), ends[1], top + high), fill=colour)


def _redden(image: npt.NDArray[np.uint8], shown: Shown, time: float) -> None:
    """Colour the kept pixels of the face seen last, in place, and frame its box."""
    place = bisect_right(shown.times.tolist(), time + 1e-6) - 1
    if place < 0:
        return
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (int(edge) for edge in shown.boxes[place])
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if x1 <= x0 or y1 <= y0:
        return
    kept = shown.kept[place]
    rows = (np.arange(y1 - y0) * len(kept)) // (y1 - y0)
    columns = (np.arange(x1 - x0) * kept.shape[1]) // (x1 - x0)
    mask = kept[rows][:, columns]
    part = image[y0:y1, x0:x1]
    part[mask] = (0.5 * part[mask] + 0.5 * np.array(_RED)).astype(np.uint8)
    part[[0, -1]] = _DECIDED
    part[:, [0, -1]] = _DECIDED
