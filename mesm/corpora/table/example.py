"""A table to begin from, with generated clips: drawn faces that speak."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream

from mesm.corpora.miniature import ground_truth
from mesm.corpora.miniature.generate import generate
from mesm.corpora.mosei import EMOTIONS, read_mosei
from mesm.corpora.utterances import Utterance
from mesm.runs.files import owned

TABLE = "clips.csv"
FILMS = "films"
HEADER = ("video", "start", "end", "text", "speaker", "split", "emotion")
# Few, so that a small table has each of them in every split.
CHOSEN = ("happy", "sad", "surprised")
CLIPS = 26
SEED = 9
_PACKET = 1024  # samples in a frame of AAC


def write_example(out: Path, workers: int | None = None) -> Path:
    """Write clips.csv, the videos that it names, and the truth about what was drawn.

    Args:
        out: the folder to make; must not exist or be empty.
        workers: processes; None: one per core. Changes nothing in the files.

    Returns:
        The table: 14 clips of 4 films, each of another speaker.

    Raises:
        ValueError: `out` is not empty, or is a file.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder that does not exist yet")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; name a new folder")
    raw = out / "generated"
    with owned(out, "writing an example in"):
        try:
            generate(raw, clips=CLIPS, seed=SEED, layout="mosei", workers=workers)
            clips = [u for u in read_mosei(raw).utterances if _emotion(u)]
            (out / FILMS).mkdir()
            films = list(dict.fromkeys(clip.dialog for clip in clips))
            names = {film: f"film{place:02d}" for place, film in enumerate(films, 1)}
            for clip in {clip.dialog: clip for clip in clips}.values():
                assert clip.video is not None
                assert clip.audio is not None
                join(clip.video, clip.audio, out / FILMS / f"{names[clip.dialog]}.mp4")
            _write_truth(raw, out, clips, names)
            _write_table(out / TABLE, clips, names)
        finally:
            shutil.rmtree(raw, ignore_errors=True)
    return out / TABLE


def join(video: Path, sound: Path, out: Path) -> None:
    """Write a video with a sound in one file: pictures as they are, sound as AAC.

    Args:
        video: whose pictures are copied.
        sound: mono.
        out: ends with .mp4.
    """
    samples, rate = soundfile.read(sound, dtype="float32")
    with (
        av.open(str(video)) as pictures,
        av.open(str(out), "w", options={"fflags": "+bitexact"}) as container,
    ):
        source = pictures.streams.video[0]
        copied = container.add_stream_from_template(source)
        heard = container.add_stream("aac", rate=rate, layout="mono")
        assert isinstance(heard, AudioStream)
        packets = [packet for packet in pictures.demux(source) if packet.dts is not None]
        for packet in packets:
            packet.stream = copied
            container.mux(packet)
        for first in range(0, len(samples), _PACKET):
            part = np.ascontiguousarray(samples[first : first + _PACKET].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first
            container.mux(heard.encode(frame))
        container.mux(heard.encode(None))


def _emotion(clip: Utterance) -> str:
    """The clip's emotion, if it is one of those chosen and the only one; else empty."""
    names = [name for name, there in zip(EMOTIONS, clip.labels, strict=True) if there]
    return names[0] if len(names) == 1 and names[0] in CHOSEN else ""


def _held_out(clips: Sequence[Utterance]) -> tuple[str, str]:
    """Two films, to validate and to test, such that all three parts have all emotions."""
    seen: dict[str, set[str]] = {}
    for clip in clips:
        seen.setdefault(clip.dialog, set()).add(_emotion(clip))
    whole = [film for film, emotions in seen.items() if len(emotions) == len(CHOSEN)]
    return next(
        pair
        for pair in permutations(whole, 2)
        if len(set().union(*(seen[film] for film in seen if film not in pair))) == len(CHOSEN)
    )


def _write_table(file: Path, clips: Sequence[Utterance], names: dict[str, str]) -> None:
    valid, test = _held_out(clips)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for clip in clips:
            film = names[clip.dialog]
            split = {valid: "valid", test: "test"}.get(clip.dialog, "train")
            place = (f"{FILMS}/{film}.mp4", clip.start, clip.end)
            writer.writerow([*place, clip.text, f"speaker {film[-2:]}", split, _emotion(clip)])


def _write_truth(raw: Path, out: Path, clips: Sequence[Utterance], names: dict[str, str]) -> None:
    """The generator's truth about the clips, under the names that the table's reader gives them."""
    renamed: dict[str, str] = {}
    for film, name in names.items():
        own = [clip.clip_id for clip in clips if clip.dialog == film]
        renamed |= {
            clip: f"{name}_{place}" if len(own) > 1 else name for place, clip in enumerate(own, 1)
        }
    lines = (raw / ground_truth.FILE_NAME).read_text(encoding="utf-8").splitlines()
    with (out / ground_truth.FILE_NAME).open("w", encoding="utf-8") as file:
        for truth in map(json.loads, lines):
            if truth["clip_id"] in renamed:
                truth["clip_id"] = renamed[truth["clip_id"]]
                truth["dialog"] = names[truth["dialog"]]
                file.write(json.dumps(truth) + "\n")
