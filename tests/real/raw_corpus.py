"""A corpus in CMU-MOSEI's layout of real recordings; labels, action units, vectors are made up.

Pictures, sound and what is read out are real; who reads is not in the picture. Two clips are there
to be refused: one beyond the end of its recording, and one whose sound file lost the silence before
its video's sound begins.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import soundfile
from av.filter import Graph
from numpy.typing import NDArray

from mesm.corpora.mosei import ANSWERS, COLUMNS, EMOTIONS
from mesm.features.openface import ACTION_UNITS
from mesm.inputs.spectrograms import SAMPLE_RATE
from mesm.inputs.words import split_words

READ = ("austen-0870", "austen-0880", "austen-0890")
RATE = 30  # rows a second in OpenFace's files
# How ffmpeg keeps a sound where it was in its video.
IN_PLACE = "async=1:first_pts=0"


@dataclass(frozen=True)
class Video:
    """A video of the corpus: its file, its clips' times, what is said, how its sound is taken."""

    name: str
    file: str
    times: tuple[tuple[float, float], ...]
    resampling: str = IN_PLACE

    def clip_ids(self) -> list[str]:
        """Names of the clips, in order."""
        return [f"{self.name}_{place}" for place in range(len(self.times))]


def evenly(first: float, last: float, count: int) -> tuple[tuple[float, float], ...]:
    """So many clips one after the other."""
    edges = np.linspace(first, last, count + 1).round(2).tolist()
    return tuple(pairwise(edges))


SILENT = Video("langer", "WolfgangLanger_Pexels.mp4", evenly(0, 19.6, 14))
BEYOND = Video("beyond", "face_noface.mov", ((6.0, 7.5),))
MOVED = Video("moved", "face_noface.mov", ((0.0, 1.5),), "async=0")
# Pictures of one recording, read out to by another: its clips are the recordings.
READING = Video("reading", "WolfgangLanger_Pexels.mp4", ())
VIDEOS = (
    SILENT,
    READING,
    Video("single_face", "single_face.mp4", evenly(0, 2.4, 2)),
    Video("face_noface", "face_noface.mov", evenly(0, 6.2, 4)),
    Video("no_face", "no_face.mp4", evenly(0, 3.9, 2)),
    BEYOND,
    MOVED,
)
REFUSED = {"beyond_0": "sound ends too early", "moved_0": "sound moved to 0 s"}


def write_corpus(recordings: Path, raw: Path, lists: Path) -> list[str]:
    """Write the corpus and its lists of clips per split.

    Args:
        recordings: the folder that fetch.sh filled.
        raw: the folder to write.
        lists: the folder for mosei_train.txt and so on.

    Returns:
        The clips that can be used.
    """
    places = ("Audio/WAV_16000", "Videos/Full/Combined", "Transcript/Combined", "Labels")
    sounds, videos, transcripts, labels = (raw / place for place in places)
    for folder in (sounds, videos, transcripts, labels, raw / "OpenFace", lists):
        folder.mkdir(parents=True)
    clips: dict[str, tuple[float, str]] = {}
    rows = []
    for video in VIDEOS:
        shutil.copyfile(recordings / video.file, videos / f"{video.name}.mp4")
        if video is READING:
            waveform, spoken = read_out(recordings)
        else:
            waveform = own_sound(recordings / video.file, video.resampling)
            spoken = [
                (*times, f"nobody says these words {i}") for i, times in enumerate(video.times)
            ]
        soundfile.write(sounds / f"{video.name}.wav", waveform, SAMPLE_RATE, subtype="PCM_16")
        lines = []
        for place, (start, end, text) in enumerate(spoken):
            # Four clips in a row share an emotion, so that each split has them all.
            emotion = len(clips) // 4 % len(EMOTIONS)
            clips[f"{video.name}_{place}"] = (end - start, text)
            answers = [int(emotion == one) for one in range(len(ANSWERS))]
            rows.append([video.name, place, *answers])
            lines.append(f"{video.name}___{place}___{start}___{end}___{text}\n")
        (transcripts / f"{video.name}.txt").write_text("".join(lines), encoding="utf-8")
    with (labels / "made_up.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    for place, (clip_id, (seconds, _)) in enumerate(clips.items()):
        write_action_units(raw / "OpenFace" / f"{clip_id}.csv", seconds, place)
    write_vectors(raw / "glove.txt", (text for _, text in clips.values()))
    for name, shown in (("train", (0, 1)), ("valid", (2,)), ("test", (3,))):
        chosen = [clip for place, clip in enumerate(clips) if place % 4 in shown]
        (lists / f"mosei_{name}.txt").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return [clip for clip in clips if clip not in REFUSED]


def own_sound(file: Path, resampling: str) -> NDArray[np.float32]:
    """A video's own sound at 16 kHz, mono; `resampling` are the options of ffmpeg's aresample."""
    with av.open(str(file)) as container:
        stream = container.streams.audio[0]
        graph = Graph()
        shape = f"sample_fmts=flt:sample_rates={SAMPLE_RATE}:channel_layouts=mono"
        steps = [
            graph.add_abuffer(template=stream),
            graph.add("aresample", resampling),
            graph.add("aformat", shape),
            graph.add("abuffersink"),
        ]
        for one, other in pairwise(steps):
            one.link_to(other)
        graph.configure()
        parts = []
        for frame in [*container.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    pulled = graph.pull()
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
                assert isinstance(pulled, av.AudioFrame)
                parts.append(pulled.to_ndarray().ravel())
    return np.concatenate(parts).astype(np.float32)


def read_out(folder: Path) -> tuple[NDArray[np.float32], list[tuple[float, float, str]]]:
    """Recordings of read speech one after the other, with times and words."""
    words = {}
    for line in (folder / "austen.transcription").read_text(encoding="utf-8").splitlines():
        text, _, name = line.rpartition(" (")
        words[name[-5:-1]] = text.removeprefix("<s> ").removesuffix(" </s>")
    parts, spoken, start = [], [], 0.0
    for name in READ:
        samples, rate = soundfile.read(folder / f"{name}.wav", dtype="float32")
        assert rate == SAMPLE_RATE
        parts.append(samples)
        end = start + len(samples) / rate
        spoken.append((start, end, words[name[-4:]]))
        start = end
    return np.concatenate(parts), spoken


def write_action_units(file: Path, seconds: float, seed: int) -> None:
    """Write a clip's action units in OpenFace's columns; they are drawn at random."""
    random = np.random.default_rng(seed)
    header = ["frame", "face_id", "timestamp", "confidence", "success", *ACTION_UNITS]
    lines = [", ".join(header)]
    for frame in range(int(seconds * RATE)):
        values = [
            f"{random.uniform(0, 5) if unit.endswith('r') else random.integers(2):.2f}"
            for unit in ACTION_UNITS
        ]
        lines.append(", ".join([f"{frame + 1}", "0", f"{frame / RATE:.3f}", "0.95", "1", *values]))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_vectors(file: Path, texts: Iterable[str]) -> None:
    """Write a vector of every word and emotion in GloVe's format; they are drawn at random."""
    random = np.random.default_rng(0)
    words = sorted({word for text in texts for word in split_words(text)} | set(EMOTIONS))
    lines = [
        f"{word} " + " ".join(f"{x:.4f}" for x in random.normal(0, 0.35, 300)) for word in words
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
