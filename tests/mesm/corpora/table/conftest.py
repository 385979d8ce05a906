"""Small media, made once: films, sounds, and files that are neither."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from mesm.corpora.table.reader import read_table
from mesm.corpora.utterances import RawCorpus
from tests.mesm.corpora.table.tables import Rows, write_rows

RATE = 16000


def write_film(path: Path, seconds: float, sound: float | None, seed: int = 0) -> None:
    """Noise in pictures, 10 a second, and for so many seconds in sound."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        heard = None if sound is None else container.add_stream("aac", rate=RATE, layout="mono")
        for _ in range(round(seconds * 10)):
            picture = random.integers(0, 255, (48, 64, 3)).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode())
        if heard is None or sound is None:
            return
        for first in range(0, round(sound * RATE), 1024):
            samples = 0.1 * random.standard_normal((1, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), first
            container.mux(heard.encode(frame))
        container.mux(heard.encode())


def write_sound(path: Path, seconds: float, seed: int = 0) -> None:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    soundfile.write(path, samples, RATE)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with films of 3 s (a, b), one without sound (mute) and one in WebM's container
    (live.mkv), sounds of 2 s (c, d), and text.mp4 and text.wav, which are neither."""
    folder = tmp_path_factory.mktemp("media")
    write_film(folder / "a.mp4", 3, 3, seed=1)
    write_film(folder / "b.mp4", 3, 3, seed=2)
    write_film(folder / "mute.mp4", 3, None)
    write_film(folder / "live.mkv", 3, 3)
    write_film(folder / "uneven.mp4", 3, 1.5)
    write_sound(folder / "c.wav", 2, seed=3)
    write_sound(folder / "d.wav", 2, seed=4)
    (folder / "text.mp4").write_text("no film")
    (folder / "text.wav").write_text("no sound")
    (folder / "folder.mp4").mkdir()
    return folder


@pytest.fixture
def read(media: Path, tmp_path: Path) -> Callable[..., RawCorpus]:
    """Read rows whose paths lead from a folder with the media."""
    folder = tmp_path / "own"
    folder.mkdir()
    for file in media.iterdir():
        (folder / file.name).symlink_to(file)

    def read_rows(rows: Rows | str, into: str = "clips.csv", **options: Any) -> RawCorpus:
        file = folder / into
        if isinstance(rows, str):
            file.write_text(rows, encoding="utf-8")
        else:
            write_rows(file, rows)
        return read_table(file, **options)

    return read_rows
