"""Faces of a video at given instants, found while the video is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mesm.inputs.face_detector import FaceDetector
from mesm.inputs.faces import FaceCrop, FrameFaces, look_for_faces
from mesm.inputs.video import frames_at
from mesm.runs.ahead import ahead

FRAMES_PER_BATCH = 16
# Frames that are decoded beside the search for faces.
FRAMES_AHEAD = 8
# Where frames are larger than this, fewer are in memory. The detector takes such ones one by one.
PIXELS = 1920 * 1080


Frame = npt.NDArray[np.uint8]


class Look(NamedTuple):
    """When to look for faces, in seconds, and in which half of the frame; None: in all of it."""

    instant: float
    half: str | None = None


class _Slot(NamedTuple):
    """One sampled frame, or its half with its left edge in the full frame."""

    number: int
    image: Frame
    left: int


def faces_at(
    video: Path,
    looks: Sequence[Look],
    detector: FaceDetector,
    *,
    wanted: Callable[[int], bool] = lambda index: True,
    every: bool = False,
    threads: int = 1,
) -> Iterator[tuple[int, FrameFaces | None]]:
    """Decode a video once and find the faces of the frame shown at each instant.

    Frames are looked at in batches, in order of time. Batches decide on the last bits of a face's
    probability, so the same looks give the same faces.

    Args:
        video: the video file.
        looks: by rising instants; see `mesm.inputs.video.frames_at`.
        detector: finds the faces.
        wanted: whether the look of that number still counts; asked once its frame is decoded.
        every: whether all faces are cut; see `mesm.inputs.faces.look_for_faces`.
        threads: that decode; 0: as many as there are cores. But for 1, they decode while faces are
            looked for. Changes nothing in the frames.

    Yields:
        The number of a look and the faces, boxes counted in the full frame; None where the video
        has no frame. Numbers rise, but for those without a frame, and halves of other sizes.

    Raises:
        VideoError: as `frames_at`.
    """
    frames = frames_at(video, [look.instant for look in looks], threads)
    if threads != 1:
        frames = ahead(frames, FRAMES_AHEAD, _weight)
    for batch in _batches(frames):
        # By size: halves of odd frames differ by a pixel.
        sized: dict[tuple[int, ...], list[_Slot]] = {}
        for index, frame in batch:
            if not wanted(index):
                continue
            if frame is None:
                yield index, None
                continue
            half, left = _half(frame, looks[index].half)
            sized.setdefault(half.shape, []).append(_Slot(index, half, left))
        for slots in sized.values():
            arrays = [np.ascontiguousarray(slot.image)[None] for slot in slots]
            images = torch.from_numpy(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
            for slot, found in zip(slots, look_for_faces(images, detector, every), strict=True):
                yield slot.number, _moved(found, slot.left)


def _weight(looked: tuple[int, Frame | None]) -> float:
    """How many frames of the size `PIXELS` one counts for, and one at least."""
    frame = looked[1]
    return 1.0 if frame is None else max(1.0, frame.shape[0] * frame.shape[1] / PIXELS)


def _batches(
    frames: Iterator[tuple[int, Frame | None]],
) -> Iterator[list[tuple[int, Frame | None]]]:
    batch: list[tuple[int, Frame | None]] = []
    weight = 0.0
    for looked in frames:
        batch.append(looked)
        weight += _weight(looked)
        if weight >= FRAMES_PER_BATCH:
            yield batch
            batch, weight = [], 0.0
    if batch:
        yield batch


def _half(frame: Frame, half: str | None) -> tuple[Frame, int]:
    """Cut the speaker's half; also give its left edge in the full frame."""
    middle = frame.shape[1] // 2
    if half == "left":
        return frame[:, :middle], 0
    if half == "right":
        return frame[:, middle:], middle
    return frame, 0


def _moved(faces: FrameFaces, left: int) -> FrameFaces:
    """The same with boxes counted in the full frame."""
    shift = np.array([left, 0, left, 0], np.float32)

    def moved(crop: FaceCrop) -> FaceCrop:
        return replace(crop, box=crop.box + shift)

    return FrameFaces(
        moved(faces.largest),
        faces.boxes + shift,
        tuple(moved(crop) for crop in faces.crops),
        None if faces.centre is None else moved(faces.centre),
    )
