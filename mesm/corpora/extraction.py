"""One dialog's media to rows of the prepared corpus: the unit of work of the preparation."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image

from mesm.corpora.manifest import FORMAT
from mesm.corpora.parts import Part
from mesm.corpora.prepared import MEL_BINS, SCHEMA
from mesm.corpora.shortfalls import Recording
from mesm.corpora.utterances import SkippedClip, Utterance
from mesm.inputs.face_detector import FaceDetector
from mesm.inputs.faces import FaceCrop, crop_faces, sampling_instants
from mesm.inputs.spectrograms import SAMPLE_RATE, ShortSoundError, log_mel, read_waveform
from mesm.inputs.video import LONGEST_HOLD, VideoError, frames_at
from mesm.runs.ordinary import not_a_file

FRAMES_PER_BATCH = 16


@dataclass(frozen=True)
class Dialog:
    """The utterances of one dialog, which share a video and a recording."""

    name: str
    root: Path
    utterances: tuple[Utterance, ...]
    min_face_size: int
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.utterances)

    def part_name(self) -> str:
        """Name the dialog's part file; the name changes with all that its content depends on."""
        media = {file for u in self.utterances for file in (u.video, u.audio)}
        stamps = []
        for file in sorted(media):
            stat = file.stat() if file.is_file() else None
            relative = file.relative_to(self.root).as_posix()
            stamps.append((relative, (stat.st_size, stat.st_mtime_ns) if stat else None))
        clips = [{k: str(v) for k, v in asdict(u).items()} for u in self.utterances]
        for clip in clips:
            del clip["video"], clip["audio"]
        found_by: list[Any] = [self.min_face_size]
        if self.device != "cpu":
            found_by.append(self.device)
        key = json.dumps([FORMAT, *found_by, clips, stamps], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"

    def refused(self, reason: str) -> Part:
        """Give the part in which all of its clips are left out."""
        skipped = [
            SkippedClip(
                clip_id=utterance.clip_id,
                reason=reason,
                file=utterance.video.relative_to(self.root).as_posix(),
            )
            for utterance in self.utterances
        ]
        return pa.Table.from_pylist([], schema=SCHEMA), skipped


@dataclass
class _Draft:
    """A clip while its media are being read."""

    utterance: Utterance
    instants: list[float] = field(default_factory=list)
    spectrogram: npt.NDArray[np.float32] | None = None
    faces: dict[int, FaceCrop] = field(default_factory=dict)
    failure: SkippedClip | None = None


@dataclass(frozen=True)
class _Slot:
    """One sampled frame, or its half, and the face of the clip it is for."""

    draft: _Draft
    face: int
    image: npt.NDArray[np.uint8]
    left: int


@contextmanager
def extractor(min_face_size: int, device: str) -> Iterator[Callable[[Dialog], Part]]:
    """Give `extract` with a face detector, on one thread: results then depend on no worker count.

    Args:
        min_face_size: side in pixels of the smallest face looked for.
        device: where the detector's networks run.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield partial(extract, detector=FaceDetector(min_face_size, device=device))
    finally:
        torch.set_num_threads(threads)


def _stands(file: Path) -> str:
    return not_a_file(file) if file.exists() else ""


def extract(dialog: Dialog, detector: FaceDetector) -> Part:
    """Read a dialog's sound and video once, and make a row of every clip that is sound.

    Args:
        dialog: what to read.
        detector: finds the faces.

    Returns:
        A table with `prepared.SCHEMA`, in the utterances' order, and the clips left out.
    """
    drafts = [_Draft(utterance) for utterance in dialog.utterances]
    recording = cache(Recording)

    def fail(draft: _Draft, reason: str, file: Path, detail: str = "") -> None:
        draft.failure = SkippedClip(
            clip_id=draft.utterance.clip_id,
            reason=reason,
            file=file.relative_to(dialog.root).as_posix(),
            detail=detail.replace(f"{dialog.root}/", ""),
        )

    for draft in drafts:
        utterance = draft.utterance
        media = recording(utterance.audio, utterance.video)
        if not utterance.audio.is_file():
            fail(draft, *media.no_sound_file(_stands(utterance.audio)))
        elif not utterance.video.is_file():
            fail(draft, "no video file", utterance.video, _stands(utterance.video))
        elif media.moved:
            fail(draft, *media.moved)
        else:
            try:
                waveform = read_waveform(
                    utterance.audio,
                    utterance.start,
                    utterance.end,
                    utterance.channel,
                    utterance.channels,
                )
                spectrogram = log_mel(waveform)
            except ShortSoundError as error:
                fail(draft, *media.short_sound(str(error), utterance.end))
                continue
            except ValueError as error:
                fail(draft, "unreadable sound", utterance.audio, str(error))
                continue
            draft.spectrogram = spectrogram
            # No frame is looked for after the end of the sound, to which a late end is clamped.
            heard = utterance.start + len(waveform) / SAMPLE_RATE
            end = utterance.end if utterance.end <= heard + LONGEST_HOLD else heard
            draft.instants = sampling_instants(utterance.start, end)
    _read_faces(drafts, detector, recording, fail)
    skipped = [draft.failure for draft in drafts if draft.failure is not None]
    rows = [_row(draft) for draft in drafts if draft.failure is None]
    return pa.Table.from_pylist(rows, schema=SCHEMA), skipped


def _read_faces(
    drafts: Sequence[_Draft],
    detector: FaceDetector,
    recording: Callable[[Path, Path], Recording],
    fail: Callable[..., None],
) -> None:
    wanted = sorted(
        (instant, row, i)
        for row, draft in enumerate(drafts)
        if draft.failure is None
        for i, instant in enumerate(draft.instants)
    )
    if not wanted:
        return
    video = drafts[wanted[0][1]].utterance.video
    try:
        frames_shown = frames_at(video, [instant for instant, _, _ in wanted])
        while batch := list(islice(frames_shown, FRAMES_PER_BATCH)):
            # By size: halves of odd frames differ by a pixel.
            sized: dict[tuple[int, ...], list[_Slot]] = {}
            for index, frame in batch:
                instant, row, i = wanted[index]
                draft = drafts[row]
                if draft.failure is not None:
                    continue
                if frame is None:
                    fail(draft, *recording(draft.utterance.audio, video).no_picture(instant))
                    continue
                half, left = _half(frame, draft.utterance.half)
                sized.setdefault(half.shape, []).append(_Slot(draft, i, half, left))
            for slots in sized.values():
                frames = torch.from_numpy(np.stack([slot.image for slot in slots]))
                for slot, crop in zip(slots, crop_faces(frames, detector), strict=True):
                    box = crop.box + np.array([slot.left, 0, slot.left, 0], np.float32)
                    slot.draft.faces[slot.face] = FaceCrop(crop.image, box, crop.found)
    except VideoError as error:
        for draft in drafts:
            if draft.failure is None:
                fail(draft, "unreadable video", video, str(error))


def _half(frame: npt.NDArray[np.uint8], half: str | None) -> tuple[npt.NDArray[np.uint8], int]:
    """Cut the speaker's half; also give its left edge in the full frame."""
    middle = frame.shape[1] // 2
    if half == "left":
        return frame[:, :middle], 0
    if half == "right":
        return frame[:, middle:], middle
    return frame, 0


def _row(draft: _Draft) -> dict[str, Any]:
    utterance, spectrogram = draft.utterance, draft.spectrogram
    if spectrogram is None or spectrogram.shape[0] != MEL_BINS:
        raise RuntimeError(f"{utterance.clip_id} was neither read nor refused")
    faces = [draft.faces[i] for i in range(len(draft.instants))]
    return {
        "clip_id": utterance.clip_id,
        "text": utterance.text,
        "speaker": utterance.speaker,
        "dialog": utterance.dialog,
        "start": utterance.start,
        "end": utterance.end,
        "labels": list(utterance.labels),
        "faces": [_png(face.image) for face in faces],
        "face_found": [face.found for face in faces],
        "face_boxes": [face.box for face in faces],
        "face_times": np.array(draft.instants, np.float32),
        "spectrogram": spectrogram.ravel(),
        "spectrogram_columns": spectrogram.shape[1],
    }


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()
