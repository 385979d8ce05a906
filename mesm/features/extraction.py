"""One dialog's audio and video features: the unit of work of `mesm features`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from mesm.corpora.parts import Part, read_part
from mesm.corpora.utterances import SkippedClip
from mesm.features.manifest import FORMAT
from mesm.features.onsets import ONSET_COLUMNS, onset_features
from mesm.features.openface import VIDEO_COLUMNS, read_openface
from mesm.features.phonet import PHONET_COLUMNS, phonet_features, read_phonet
from mesm.features.phonet_network import load_network
from mesm.features.sources import ClipSources, CsvSource
from mesm.inputs.sound_parts import ShortSoundError, Stretch
from mesm.inputs.spectrograms import AudioError
from mesm.inputs.waveforms import each_waveform

AUDIO_COLUMNS = [*ONSET_COLUMNS, *PHONET_COLUMNS]

_PART_SCHEMA = pa.schema(
    [("clip_id", pa.string())]
    + [(name, pa.list_(pa.float32())) for name in ("audio", "video")]
    + [(f"{name}_rows", pa.int32()) for name in ("audio", "video")]
)

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DialogSources:
    """The clips of one dialog and how their features are made.

    Attributes:
        name: of the dialog.
        root: the raw corpus's folder.
        clips: in order of time.
        phonet: whether posteriors are read from files rather than computed.
        video_step: seconds between rows; 0: every frame.
    """

    name: str
    root: Path
    clips: tuple[ClipSources, ...]
    phonet: bool
    video_step: float

    def __len__(self) -> int:
        return len(self.clips)

    def part_name(self) -> str:
        """Name the dialog's part file; the name changes with all that its content depends on."""
        facts = []
        for clip in self.clips:
            csvs = [source and (str(source.file), source.own) for source in _csvs(clip)]
            facts.append([clip.clip_id, clip.start, clip.end, clip.channel, clip.half, csvs])
        files = {clip.audio for clip in self.clips if clip.audio is not None}
        files |= {source.file for clip in self.clips for source in _csvs(clip) if source}
        stamps = []
        for file in sorted(files):
            stat = file.stat() if file.is_file() else None
            stamps.append((str(file), (stat.st_size, stat.st_mtime_ns) if stat else None))
        key = json.dumps([FORMAT, self.phonet, self.video_step, facts, stamps])
        return f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"

    def refused(self, reason: str) -> Part:
        """Give the part in which all of its clips are left out."""
        skipped = [
            SkippedClip(clip_id=clip.clip_id, reason=reason, file=str(clip.audio or self.root))
            for clip in self.clips
        ]
        return pa.Table.from_pylist([], schema=_PART_SCHEMA), skipped


@dataclass
class DialogFeatures:
    """The features of a dialog: per clip (rows, columns) float32; and the clips that failed."""

    audio: dict[str, Matrix] = field(default_factory=dict)
    video: dict[str, Matrix] = field(default_factory=dict)
    skipped: list[SkippedClip] = field(default_factory=list)


def extract_features(dialog: DialogSources) -> DialogFeatures:
    """Make the audio and video features of a dialog's clips.

    A clip whose sound or OpenFace file cannot be read is reported and gets no row in that modality;
    one whose Phonet file cannot be read, no phonological statistics.
    """
    out, heard = DialogFeatures(), _sounds(dialog)
    for clip in dialog.clips:
        out.audio[clip.clip_id], skipped = heard[clip.clip_id]
        out.skipped += skipped
        out.video[clip.clip_id] = _video(dialog, clip, out.skipped)
    return out


@contextmanager
def extractor() -> Iterator[Callable[[DialogSources], Part]]:
    """Give `extract_part`, on one thread: results then depend on no worker count."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield extract_part
    finally:
        torch.set_num_threads(threads)


def extract_part(dialog: DialogSources) -> Part:
    """Make a dialog's features and lay them out as `read_features` reads them."""
    features = extract_features(dialog)
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
    return pa.Table.from_pylist(rows, schema=_PART_SCHEMA), features.skipped


def read_features(path: Path) -> DialogFeatures:
    """Read a dialog's part file."""
    table, skipped = read_part(path)
    out = DialogFeatures(skipped=skipped)
    for i, clip_id in enumerate(table["clip_id"].to_pylist()):
        for name, matrices in (("audio", out.audio), ("video", out.video)):
            rows = table[f"{name}_rows"][i].as_py()
            values = table[name][i].values.to_numpy(zero_copy_only=False)
            # Without rows the width is not told by the values; the reader of a part knows it.
            matrices[clip_id] = values.reshape(rows, -1) if rows else values.reshape(0, 0)
    return out


def _csvs(clip: ClipSources) -> tuple[CsvSource | None, CsvSource | None]:
    return clip.openface, clip.phonet


def _span(clip: ClipSources, source: CsvSource) -> tuple[float, float]:
    """The clip's start and end in the time of a CSV file."""
    return (0.0, clip.end - clip.start) if source.own else (clip.start, clip.end)


def _sounds(dialog: DialogSources) -> dict[str, tuple[Matrix, list[SkippedClip]]]:
    """Each clip's audio features, and why there are none; a container is decoded once."""
    found: dict[str, tuple[Matrix, list[SkippedClip]]] = {}

    def add(clip: ClipSources, waveform: Matrix | AudioError | None) -> None:
        skipped: list[SkippedClip] = []
        found[clip.clip_id] = _audio(dialog, clip, waveform, skipped), skipped

    groups: dict[tuple[Path, int | None], list[ClipSources]] = {}
    for clip in dialog.clips:
        if clip.audio is None:
            add(clip, None)
        else:
            groups.setdefault((clip.audio, clip.channel), []).append(clip)
    for (audio, channel), own in groups.items():
        parts = [Stretch(clip.start, clip.end) for clip in own]
        for number, waveform in each_waveform(audio, parts, channel):
            add(own[number], waveform)
    return found


def _audio(
    dialog: DialogSources,
    clip: ClipSources,
    waveform: Matrix | AudioError | None,
    skipped: list[SkippedClip],
) -> Matrix:
    nothing = np.empty((0, len(AUDIO_COLUMNS)), np.float32)
    if clip.audio is None or waveform is None:
        skipped.append(
            _skip(clip, "no sound", Path(clip.dialog), dialog.root, "its recording has none")
        )
        return nothing
    if isinstance(waveform, AudioError):
        short = isinstance(waveform, ShortSoundError)
        reason = "sound ends too early" if short else "unreadable sound"
        skipped.append(_skip(clip, reason, clip.audio, dialog.root, str(waveform)))
        return nothing
    onsets = onset_features(waveform)
    if not dialog.phonet:
        return np.concatenate([onsets, phonet_features(waveform, load_network())], 1)
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
    remarks: list[str] = []
    try:
        rows = read_openface(
            file,
            *_span(clip, clip.openface),
            dialog.video_step,
            half,
            own=clip.openface.own,
            remarks=remarks,
        )
    except ValueError as error:
        reason = "unreadable OpenFace file"
        skipped.append(_skip(clip, reason, file, file.parent, str(error)))
        return nothing
    if remarks:
        reason = "OpenFace file read in part"
        skipped.append(_skip(clip, reason, file, file.parent, "; ".join(remarks)))
    if len(rows) == 0:
        reason = "no OpenFace row in the clip's time"
        mend = f"its time must be the {'clip' if clip.openface.own else 'dialog'}'s"
        skipped.append(_skip(clip, reason, file, file.parent, mend))
    return rows


def _skip(clip: ClipSources, reason: str, file: Path, folder: Path, detail: str) -> SkippedClip:
    # Relative paths: the manifest is the same wherever the corpus lies.
    where, detail = (text.replace(f"{folder}/", "") for text in (str(file), detail))
    return SkippedClip(clip_id=clip.clip_id, reason=reason, file=where, detail=detail)
