"""One dialog's media to rows of the prepared corpus: the unit of work of the preparation."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
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
from mesm.corpora.shortfalls import Recording, Shortfall
from mesm.corpora.utterances import SkippedClip, Utterance, relative
from mesm.inputs.compiled import compiled
from mesm.inputs.face_detector import VERSION, FaceDetector
from mesm.inputs.face_stream import Look, faces_at
from mesm.inputs.face_tracks import longest_track
from mesm.inputs.faces import FaceCrop, FaceRule, FrameFaces, sampling_instants
from mesm.inputs.sound_parts import ShortSoundError, Stretch
from mesm.inputs.spectrograms import AudioError, log_mel
from mesm.inputs.video import VideoError
from mesm.inputs.waveforms import SOUND_FILES, each_waveform, heard_until
from mesm.runs.ordinary import not_a_file


@dataclass(frozen=True)
class Dialog:
    """The utterances of one dialog, which share a video and a sound, or lack either."""

    name: str
    root: Path
    utterances: tuple[Utterance, ...]
    min_face_size: int
    device: str = "cpu"
    faces: FaceRule = "largest"

    def __len__(self) -> int:
        return len(self.utterances)

    def part_name(self) -> str:
        """Name the dialog's part file; the name changes with all that its content depends on."""
        media = {file for u in self.utterances for file in u.media if file is not None}
        stamps = []
        for file in sorted(media):
            stat = file.stat() if file.is_file() else None
            stamp = (stat.st_size, stat.st_mtime_ns) if stat else None
            stamps.append((relative(file, self.root), stamp))
        # As `asdict` gives them, which copies everything and takes most of the time.
        names = [one.name for one in fields(Utterance)]
        clips = [{name: str(getattr(u, name)) for name in names} for u in self.utterances]
        for clip, utterance in zip(clips, self.utterances, strict=True):
            del clip["video"], clip["audio"]
            if utterance.split is None:  # earlier corpora knew none
                del clip["split"]
        found_by: list[Any] = [self.min_face_size, f"detector {VERSION}"]
        if self.device != "cpu":
            found_by.append(self.device)
        elif not compiled():
            found_by.append("by layers")  # of near-equal windows, other ones may be kept
        if self.faces != "largest":
            found_by.append(self.faces)
        roles: list[Any] = []
        audio, video = self.utterances[0].media
        if len(media) < 2:
            roles = [audio is None, video is None]
        elif audio is not None and audio.suffix.lower() not in SOUND_FILES:
            roles = [relative(audio, self.root)]  # either could be the other
        key = json.dumps([FORMAT, *found_by, clips, stamps, *roles], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"

    def refused(self, reason: str) -> Part:
        """Give the part in which all of its clips are left out."""
        skipped = [
            SkippedClip(
                clip_id=utterance.clip_id,
                reason=reason,
                file=relative(file, self.root),
            )
            for utterance in self.utterances
            for file in [utterance.video or utterance.audio or self.root]
        ]
        return pa.Table.from_pylist([], schema=SCHEMA), skipped


@dataclass
class _Draft:
    """A clip while its media are being read."""

    utterance: Utterance
    end: float = field(init=False)
    instants: list[float] = field(default_factory=list)
    spectrogram: npt.NDArray[np.float32] | None = None
    faces: dict[int, FrameFaces] = field(default_factory=dict)
    failure: SkippedClip | None = None

    def __post_init__(self) -> None:
        self.end = self.utterance.end


@contextmanager
def extractor(
    min_face_size: int, device: str, mtcnn: Path | None = None
) -> Iterator[Callable[[Dialog], Part]]:
    """Give `extract` with a face detector, on one thread: results then depend on no worker count.

    Args:
        min_face_size: side in pixels of the smallest face looked for.
        device: where the detector's networks run.
        mtcnn: folder of their weights; None: those of the installed facenet-pytorch.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        detector = FaceDetector(min_face_size, weights=mtcnn, device=device)
        yield partial(extract, detector=detector)
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
    audio, video = dialog.utterances[0].media
    recording = Recording(audio, video)

    def fail(draft: _Draft, reason: str, file: Path, detail: str = "") -> None:
        draft.failure = SkippedClip(
            clip_id=draft.utterance.clip_id,
            reason=reason,
            file=relative(file, dialog.root),
            detail=detail.replace(f"{dialog.root}/", ""),
        )

    missing: Shortfall | None
    if audio is not None and not audio.is_file():
        missing = recording.no_sound_file(_stands(audio))
    elif video is not None and not video.is_file():
        missing = Shortfall("no video file", video, _stands(video))
    else:
        missing = recording.moved
    if missing:
        for draft in drafts:
            fail(draft, *missing)
    else:
        if audio is not None and not recording.is_mute:
            _read_sound(drafts, audio, recording, fail)
        for draft in drafts:
            if video is not None and draft.failure is None:
                draft.instants = sampling_instants(draft.utterance.start, draft.end)
        _read_faces(drafts, dialog.faces, detector, recording, fail)
    skipped = [draft.failure for draft in drafts if draft.failure is not None]
    rows = [_row(draft, dialog.faces) for draft in drafts if draft.failure is None]
    return pa.Table.from_pylist(rows, schema=SCHEMA), skipped


def _read_sound(
    drafts: Sequence[_Draft], audio: Path, recording: Recording, fail: Callable[..., None]
) -> None:
    first = drafts[0].utterance
    # Speakers of one recording may be on a channel each.
    for channel in dict.fromkeys(draft.utterance.channel for draft in drafts):
        speaking = [draft for draft in drafts if draft.utterance.channel == channel]
        parts = [Stretch(draft.utterance.start, draft.utterance.end) for draft in speaking]
        for number, waveform in each_waveform(audio, parts, channel, first.channels):
            draft, part = speaking[number], parts[number]
            utterance = draft.utterance
            draft.failure = None  # a part that comes again is the right one
            try:
                if isinstance(waveform, AudioError):
                    raise waveform
                draft.spectrogram = log_mel(waveform)
            except ShortSoundError as error:
                fail(draft, *recording.short_sound(str(error), utterance.end))
                continue
            except ValueError as error:
                fail(draft, "unreadable sound", audio, str(error))
                continue
            draft.end = heard_until(part, len(waveform))


def _read_faces(
    drafts: Sequence[_Draft],
    rule: FaceRule,
    detector: FaceDetector,
    recording: Recording,
    fail: Callable[..., None],
) -> None:
    wanted = sorted(
        (instant, row, i)
        for row, draft in enumerate(drafts)
        if draft.failure is None
        for i, instant in enumerate(draft.instants)
    )
    video = recording.video
    if not wanted or video is None:
        return
    looks = [Look(instant, drafts[row].utterance.half) for instant, row, _ in wanted]
    found = faces_at(
        *(video, looks, detector),
        wanted=lambda index: drafts[wanted[index][1]].failure is None,
        every=rule == "track",
    )
    try:
        for index, faces in found:
            instant, row, i = wanted[index]
            if faces is None:
                fail(drafts[row], *recording.no_picture(instant))
            else:
                drafts[row].faces[i] = faces
    except VideoError as error:
        for draft in drafts:
            if draft.failure is None:
                fail(draft, "unreadable video", video, str(error))


def _chosen(draft: _Draft, rule: FaceRule) -> list[FaceCrop]:
    """The clip's face in each frame."""
    frames = [draft.faces[i] for i in range(len(draft.instants))]
    return longest_track(frames) if rule == "track" else [frame.largest for frame in frames]


def _row(draft: _Draft, rule: FaceRule) -> dict[str, Any]:
    utterance, spectrogram = draft.utterance, draft.spectrogram
    if spectrogram is None:  # the recording has no sound
        spectrogram = np.empty((MEL_BINS, 0), np.float32)
    faces = _chosen(draft, rule)
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
