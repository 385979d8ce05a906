"""Videos and sounds of some kilobytes, made once per kind."""

from __future__ import annotations

import io
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 10
SAMPLES = 16000


@cache
def video_bytes(
    seconds: float = 1.0,
    sound: float | None = None,
    codec: str = "aac",
    layout: str = "mono",
    form: str = "mp4",
    picture_codec: str = "mpeg4",
) -> bytes:
    """Grey pictures of so many seconds, 10 a second; `sound` seconds of noise, None for none."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=form) as container:
        heard = None
        if sound is not None:
            heard = container.add_stream(codec, rate=48000 if codec == "ac3" else SAMPLES)
            heard.layout = layout
        if seconds:
            pictures = container.add_stream(picture_codec, rate=RATE)
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for i in range(round(seconds * RATE)):
                image = np.full((48, 64, 3), 16 * i % 240, np.uint8)
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            container.mux(pictures.encode())
        if heard is not None:
            rate = heard.rate
            rng = np.random.default_rng(0)
            noise = 0.1 * rng.standard_normal((heard.channels, round(sound * rate)))
            frame = av.AudioFrame.from_ndarray(
                noise.astype(np.float32), format="fltp", layout=layout
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            fifo = av.AudioFifo()
            fifo.write(frame)
            while part := fifo.read(heard.frame_size or 1024, partial=True):
                container.mux(heard.encode(part))
            container.mux(heard.encode())
    return stream.getvalue()


def write_video(file: Path, mark: int = 0, **kind: object) -> Path:
    """Write a video; files of other marks differ, in bytes that players pass over."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # An empty box of the MP4 format.
    tail = (8 + mark).to_bytes(4) + b"free" + bytes(mark) if mark else b""
    file.write_bytes(video_bytes(**kind) + tail)
    return file


@cache
def sound_bytes(seconds: float = 1.0, loudness: float = 0.1) -> bytes:
    """Noise at 16 kHz in a WAV file."""
    stream = io.BytesIO()
    noise = loudness * np.random.default_rng(0).standard_normal(round(seconds * SAMPLES))
    soundfile.write(stream, noise, SAMPLES, format="WAV")
    return stream.getvalue()


def write_sound(file: Path, seconds: float = 1.0, loudness: float = 0.1) -> Path:
    """Write a WAV file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(sound_bytes(seconds, loudness))
    return file
