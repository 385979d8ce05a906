"""Recordings with somebody in them: a photograph that moves, and a voice of tones and pauses."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile

RATE = 16_000
HEIGHT, WIDTH = 128, 160


@cache
def face() -> npt.NDArray[np.uint8]:
    """A photograph's face (80, 80, 3)."""
    from skimage.data import astronaut
    from skimage.transform import resize

    part = astronaut()[20:220, 130:330]
    return (255 * resize(part, (80, 80), anti_aliasing=True)).astype(np.uint8)


def pictures(seconds: float, rate: int = 10, people: int = 1) -> list[npt.NDArray[np.uint8]]:
    """Frames (128, 160, 3) with that many faces, which move to the right."""
    found = []
    for number in range(max(1, round(seconds * rate))):
        frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        for person in range(people):
            left = 80 * person + (number // rate) % 2
            size = 80 - 16 * person
            picture = face()[:size, :size] if person == 0 else _smaller(size)
            frame[20 : 20 + size, left : left + size] = picture[:, : WIDTH - left]
        found.append(frame)
    return found


@cache
def _smaller(size: int) -> npt.NDArray[np.uint8]:
    from skimage.transform import resize

    return (255 * resize(face(), (size, size), anti_aliasing=True)).astype(np.uint8)


def voice(
    seconds: float, seed: int = 0, silent: Sequence[tuple[float, float]] = (), rate: int = RATE
) -> npt.NDArray[np.float32]:
    """Tones (n,) with a little noise; nearly silent in the stretches named."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (180 + 40 * seed) * t) * (1 + 0.5 * np.sin(2 * np.pi * 3 * t))
    for start, end in silent:
        tone[round(start * rate) : round(end * rate)] = 0
    return (tone + 0.001 * random.standard_normal(len(t))).astype(np.float32)


def film(
    file: Path,
    seconds: float,
    seed: int = 0,
    *,
    sound: npt.NDArray[np.float32] | None = None,
    mute: bool = False,
    people: int = 1,
    rate: int = 10,
    late: float = 0.0,
) -> Path:
    """Write a video with a face and a voice, which begins late; its ending says the container."""
    with av.open(str(file), "w") as container:
        video = container.add_stream("mpeg4", rate=rate)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.bit_rate = 4_000_000
        audio = None if mute else container.add_stream("aac", rate=RATE, layout="mono")
        for picture in pictures(seconds, rate, people):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode())
        if audio is not None:
            samples = voice(seconds, seed) if sound is None else sound
            fifo = av.AudioFifo()
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            fifo.write(frame)
            while part := fifo.read(1024, partial=True):
                part.pts += round(late * RATE)
                container.mux(audio.encode(part))
            container.mux(audio.encode())
    return file


def sound_file(file: Path, seconds: float, **kind: object) -> Path:
    """Write a sound file of a voice."""
    soundfile.write(file, voice(seconds), RATE, **kind)
    return file
