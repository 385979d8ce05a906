"""Clips that are ready to click: out of a miniature corpus, or recordings of a folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

from mesm.corpora.miniature import ground_truth
from mesm.corpora.miniature.emotions import LAYOUTS, Layout
from mesm.corpora.miniature.generate import generate
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.registry import find_corpus
from mesm.corpora.utterances import Utterance
from mesm.evaluation.run import Run
from mesm.inference.cutting import LONGEST_PIECE
from mesm.inference.loading import Trained
from mesm.inference.recording import InputError, Recording, find_recordings, open_recording
from mesm.inference.subtitles import ENDINGS, read_subtitles
from mesm.inputs.spectrograms import SAMPLE_RATE, AudioError
from mesm.inputs.video import VideoError, frames_at
from mesm.inputs.waveforms import SOUND_FILES, read_waveform
from mesm.web.limits import Limits, check_subtitles

MOST = 6
# Clips drawn for a run without a corpus, among which every emotion is likely to be; corpora that
# runs are trained on have other seeds.
DRAWN, SEED = 24, 1234
# Frames a second of an example, which is drawn anew for browsers.
RATE = 12
LONGEST = 12.0  # seconds


@dataclass(frozen=True)
class Example:
    """A clip to click.

    Attributes:
        file: in the page's own folder.
        text: what is said; "" where nothing is known.
        label: what stands on its button.
        subtitles: in the text's place, likewise in the page's own folder; None: there are none.
    """

    file: Path
    text: str
    label: str
    subtitles: Path | None = None

    @property
    def sound(self) -> bool:
        """Whether it is a sound file, and no video."""
        return self.file.suffix.lower() in SOUND_FILES


def find_examples(
    trained: Trained, told: Path | None, folder: Path, limits: Limits | None = None
) -> list[Example]:
    """Make the examples of a run.

    Args:
        trained: the run.
        told: a folder of recordings, or of a raw miniature corpus; None: the raw miniature corpus
            beside the run's prepared one, else clips drawn now where the run knows generated ones,
            else none.
        folder: where they are written; made if need be.
        limits: of recordings; longer and larger ones, and broken ones, are passed over.

    Raises:
        InputError: the folder that was told has no recording.
    """
    if told is not None and not told.is_dir():
        raise InputError(f"--examples {told}: is no folder; name one that holds recordings")
    prepared = _prepared(trained)
    raw = told
    if raw is None and prepared is not None and trained.preprocessing.synthetic:
        near = (prepared.path.parent / "raw", prepared.path.parent.parent / "raw")
        raw = next((place for place in near if _generated(place)), None)
    layout = trained.preprocessing.corpus
    if raw is None and trained.preprocessing.synthetic and layout in LAYOUTS:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="mesm-examples-") as drawn:
            generate(Path(drawn), clips=DRAWN, seed=SEED, layout=cast(Layout, layout), workers=1)
            return list(_of_corpus(trained, Path(drawn), None, folder))
    if raw is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    if _generated(raw):
        return list(_of_corpus(trained, raw, prepared, folder))
    return list(_of_folder(raw, folder, limits or Limits()))


def _generated(raw: Path) -> bool:
    return (raw / ground_truth.FILE_NAME).is_file()


def _prepared(trained: Trained) -> PreparedCorpus | None:
    """The run's corpus, if it is found; a published model has none."""
    try:
        return Run(trained.path).corpus
    except (ValueError, OSError):
        return None


def _of_corpus(
    trained: Trained, raw: Path, prepared: PreparedCorpus | None, folder: Path
) -> Iterator[Example]:
    """Clips of the run's test split, one per emotion as far as there are."""
    found = find_corpus(trained.preprocessing.corpus).reader(raw)
    emotions = found.emotions or trained.emotions
    test = None if prepared is None else set(prepared.split("test").clip_ids)
    # A corpus of that kind that the run did not learn from has no clip of its test split.
    unseen = [one for one in found.utterances if test is None or one.clip_id in test]
    unseen = unseen or found.utterances
    for number, one in enumerate(_varied(unseen, emotions)):
        file = folder / f"example-{number + 1}.mp4"
        try:
            write_clip(one, file)
        except (VideoError, AudioError):  # one of the corpus' planted faults
            file.unlink(missing_ok=True)
            continue
        names = [name for name, yes in zip(emotions, one.labels, strict=True) if yes]
        yield Example(file, one.text, f"{' and '.join(names) or 'no emotion'} {number + 1}")


def _varied(utterances: Iterable[Utterance], emotions: Sequence[str]) -> list[Utterance]:
    """At most six of them, with other labels each as far as possible."""
    usable = [
        one
        for one in utterances
        if one.video and one.audio and one.video.is_file() and one.audio.is_file()
        if one.text and 0.5 < one.end - one.start <= LONGEST
    ]
    first: dict[tuple[int, ...], Utterance] = {}
    for one in usable:
        first.setdefault(one.labels, one)
    picked = list(first.values())
    picked += [one for one in usable if one not in picked]
    return picked[:MOST]


def write_clip(one: Utterance, file: Path) -> None:
    """Write an utterance as a video that browsers play.

    Args:
        one: with a video and a sound.
        file: ends with .mp4.

    Raises:
        VideoError, AudioError: its media cannot be read.
    """
    assert one.video is not None
    assert one.audio is not None
    sound = read_waveform(one.audio, one.start, one.end, one.channel, one.channels)
    count = max(1, int((one.end - one.start) * RATE))
    instants = [one.start + number / RATE for number in range(count)]
    frames = (image for _, image in frames_at(one.video, instants) if image is not None)
    with av.open(str(file), "w", format="mp4", options={"movflags": "faststart"}) as container:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        video: Any = container.add_stream(codec, rate=RATE)
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for number, image in enumerate(frames):
            part = _even(_half(image, one.half))
            if not number:
                video.height, video.width = part.shape[:2]
            frame = av.VideoFrame.from_ndarray(part, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        fifo = av.AudioFifo()
        heard = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        fifo.write(heard)
        while part_of_sound := fifo.read(1024, partial=True):
            container.mux(audio.encode(part_of_sound))
        container.mux(audio.encode())


def _half(image: npt.NDArray[np.uint8], half: str | None) -> npt.NDArray[np.uint8]:
    middle = image.shape[1] // 2
    if half is None:
        return image
    return image[:, :middle] if half == "left" else image[:, middle:]


def _even(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Without the last row or column where their number is odd, as video encoders want it."""
    height, width = (size - size % 2 for size in image.shape[:2])
    return np.ascontiguousarray(image[:height, :width])


def _of_folder(place: Path, folder: Path, limits: Limits) -> Iterator[Example]:
    """Copies of the first recordings of a folder that the limits allow."""
    count = 0
    for file in find_recordings([place]):
        if count == MOST:
            return
        try:
            limits.check_file(file)
            recording = open_recording(file)
            limits.check_length(recording)
            text, titles = _said(recording)
            if titles is not None:
                check_subtitles(titles)
                read_subtitles(titles)
        except InputError:
            continue
        count += 1
        copy = folder / f"example-{count}{file.suffix.lower()}"
        shutil.copyfile(file, copy)
        beside = None
        if titles is not None:
            beside = Path(shutil.copyfile(titles, copy.with_suffix(titles.suffix)))
        yield Example(copy, text, file.stem[:40], beside)


def _said(recording: Recording) -> tuple[str, Path | None]:
    """The words of a text beside a recording of one piece, or else the subtitles there."""
    beside = recording.path.with_suffix(".txt")
    if beside.is_file() and recording.seconds <= LONGEST_PIECE:
        return " ".join(beside.read_text(encoding="utf-8", errors="replace")[:2000].split()), None
    titles = (recording.path.with_suffix(ending) for ending in ENDINGS)
    return "", next((file for file in titles if file.is_file()), None)
