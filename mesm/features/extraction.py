"""One dialog's audio and video features: the unit of work of `mesm features`."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mesm.corpora.utterances import SkippedClip
from mesm.corpora.workers import end_with_parent
from mesm.features.manifest import FORMAT
from mesm.features.onsets import ONSET_COLUMNS, onset_features
from mesm.features.openface import VIDEO_COLUMNS, read_openface
from mesm.features.phonet import PHONET_COLUMNS, read_phonet
from mesm.features.sources import ClipSources, CsvSource
from mesm.inputs.spectrograms import read_waveform

_PART_SCHEMA = pa.schema(
    [("clip_id", pa.string())]
    + [(name, pa.list_(pa.float32())) for name in ("audio", "video")]
    + [(f"{name}_rows", pa.int32()) for name in ("audio", "video")]
)
_SKIPPED_KEY = b"mesm.skipped"

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DialogSources:
    """The clips of one dialog and how their features are made.

    Attributes:
        name: of the dialog.
        root: the raw corpus's folder.
        clips: in order of time.
        phonet: whether phonological statistics are among the audio features.
        video_step: seconds between rows; 0: every frame.
    """

    name: str
    root: Path
    clips: tuple[ClipSources, ...]
    phonet: bool
    video_step: float

    @property
    def audio_dim(self) -> int:
        """34, or 142 with the phonological statistics."""
        return len(ONSET_COLUMNS) + (len(PHONET_COLUMNS) if self.phonet else 0)

    def part_name(self) -> str:
        """Name the dialog's part file; the name changes with all that its content depends on."""
        facts = []
        for clip in self.clips:
            csvs = [source and (str(source.file), source.own) for source in _csvs(clip)]
            facts.append([clip.clip_id, clip.start, clip.end, clip.channel, clip.half, csvs])
        files = {clip.audio for clip in self.clips}
        files |= {source.file for clip in self.clips for source in _csvs(clip) if source}
        stamps = []
        for file in sorted(files):
            stat = file.stat() if file.is_file() else None
            stamps.append((str(file), (stat.st_size, stat.st_mtime_ns) if stat else None))
        key = json.dumps([FORMAT, self.phonet, self.video_step, facts, stamps])
        return f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"


@dataclass
class DialogFeatures:
    """What was made of a dialog: per clip (rows, columns) float32, and what could not be read."""

    audio: dict[str, Matrix] = field(default_factory=dict)
    video: dict[str, Matrix] = field(default_factory=dict)
    skipped: list[SkippedClip] = field(default_factory=list)


def extract_features(dialog: DialogSources) -> DialogFeatures:
    """Make the audio and video features of a dialog's clips.

    A clip whose sound or OpenFace file cannot be read is reported and gets no row in that modality;
    one whose Phonet file cannot be read, no phonological statistics.
    """
    out = DialogFeatures()
    for clip in dialog.clips:
        out.audio[clip.clip_id] = _audio(dialog, clip, out.skipped)
        out.video[clip.clip_id] = _video(dialog, clip, out.skipped)
    return out


def write_part(path: Path, features: DialogFeatures) -> None:
    """Write a dialog's part file; it appears whole or not at all."""
    rows = []
    for clip_id, audio in features.audio.items():
        video = features.video[clip_id]
        rows.append(
            {
                "clip_id": clip_id,
                "audio": audio.ravel(),
                "audio_rows": len(audio),
                "video": video.ravel(),
                "video_rows": len(video),
            }
        )
    notes = json.dumps([clip.model_dump() for clip in features.skipped])
    table = pa.Table.from_pylist(rows, schema=_PART_SCHEMA)
    beside = path.with_name(path.name + ".tmp")
    pq.write_table(table.replace_schema_metadata({_SKIPPED_KEY: notes}), beside)
    beside.replace(path)


def read_part(path: Path) -> DialogFeatures:
    """Read a dialog's part file."""
    table = pq.read_table(path, use_threads=False, partitioning=None)
    notes = json.loads(table.schema.metadata[_SKIPPED_KEY])
    out = DialogFeatures(skipped=[SkippedClip.model_validate(note) for note in notes])
    for i, clip_id in enumerate(table["clip_id"].to_pylist()):
        for name, matrices in (("audio", out.audio), ("video", out.video)):
            rows = table[f"{name}_rows"][i].as_py()
            values = table[name][i].values.to_numpy(zero_copy_only=False)
            # Without rows the width is not told by the values; the reader of a part knows it.
            matrices[clip_id] = values.reshape(rows, -1) if rows else values.reshape(0, 0)
    return out


def make_parts(
    todo: Sequence[DialogSources], parts: Mapping[str, Path], workers: int
) -> Iterator[tuple[DialogSources, list[SkippedClip]]]:
    """Write the part file of every dialog.

    Args:
        todo: the dialogs, in the order to begin them.
        parts: dialog to its file.
        workers: processes; with one, this process does the work.

    Yields:
        Each dialog as it is done, and what could not be read of it.

    Raises:
        RuntimeError: a process died.
    """
    if workers == 1:
        for dialog in todo:
            yield dialog, _make_part(dialog, parts[dialog.name])
        return
    # Forking after torch has started its threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker) as pool:
        running = {pool.submit(_make_part, one, parts[one.name]): one for one in todo}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process died, probably out of memory: run again to go on, with fewer "
                "--workers"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()


def _make_part(dialog: DialogSources, part: Path) -> list[SkippedClip]:
    features = extract_features(dialog)
    write_part(part, features)
    return features.skipped


def _csvs(clip: ClipSources) -> tuple[CsvSource | None, CsvSource | None]:
    return clip.openface, clip.phonet


def _span(clip: ClipSources, source: CsvSource) -> tuple[float, float]:
    """The clip's start and end in the time of a CSV file."""
    return (0.0, clip.end - clip.start) if source.own else (clip.start, clip.end)


def _audio(dialog: DialogSources, clip: ClipSources, skipped: list[SkippedClip]) -> Matrix:
    try:
        waveform = read_waveform(clip.audio, clip.start, clip.end, clip.channel)
    except ValueError as error:
        skipped.append(_skip(clip, "unreadable sound", clip.audio, dialog.root, str(error)))
        return np.empty((0, dialog.audio_dim), np.float32)
    onsets = onset_features(waveform)
    if not dialog.phonet:
        return onsets
    phonological = np.full((len(onsets), len(PHONET_COLUMNS)), np.nan, np.float32)
    if clip.phonet is not None:
        file = clip.phonet.file
        try:
            phonological = read_phonet(file, *_span(clip, clip.phonet), len(onsets))
        except ValueError as error:
            reason = "unreadable Phonet file"
            skipped.append(_skip(clip, reason, file, file.parent, str(error)))
    return np.concatenate([onsets, phonological], 1)


def _video(dialog: DialogSources, clip: ClipSources, skipped: list[SkippedClip]) -> Matrix:
    nothing = np.empty((0, len(VIDEO_COLUMNS)), np.float32)
    if clip.openface is None:
        return nothing
    file = clip.openface.file
    half = None if clip.openface.own else clip.half
    try:
        rows = read_openface(file, *_span(clip, clip.openface), dialog.video_step, half)
    except ValueError as error:
        reason = "unreadable OpenFace file"
        skipped.append(_skip(clip, reason, file, file.parent, str(error)))
        return nothing
    if len(rows) == 0:
        reason = "no OpenFace row in the clip's time"
        mend = f"its time must be the {'clip' if clip.openface.own else 'dialog'}'s"
        skipped.append(_skip(clip, reason, file, file.parent, mend))
    return rows


def _skip(clip: ClipSources, reason: str, file: Path, folder: Path, detail: str) -> SkippedClip:
    # Relative paths: the manifest is the same wherever the corpus lies.
    where, detail = (text.replace(f"{folder}/", "") for text in (str(file), detail))
    return SkippedClip(clip_id=clip.clip_id, reason=reason, file=where, detail=detail)
