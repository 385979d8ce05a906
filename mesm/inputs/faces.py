"""The speaker's face in video frames, as the models see it: 48x48 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mesm.inputs.boxes import Floats, crop_area
from mesm.inputs.face_detector import FaceDetector

IMAGE_SIZE = 48
# Pixels of the 48x48 image left around the face's box, both sides together.
MARGIN = 2
SECONDS_BETWEEN_FACES = 0.5

# Whose face a clip shows: the largest of each frame, or that of the longest track
# (`mesm.inputs.face_tracks`).
FaceRule = Literal["largest", "track"]


@dataclass(frozen=True)
class FaceCrop:
    """A face cut from one frame.

    Attributes:
        image: (48, 48, 3) uint8, RGB.
        box: (4,) float32, x0, y0, x1, y1: the part of the frame that became the image, in pixels.
        found: whether a face was found there; else it is the centre of the frame.
    """

    image: npt.NDArray[np.uint8]
    box: Floats
    found: bool


def sampling_instants(start: float, end: float) -> list[float]:
    """Give the instants of a clip's faces: its start and every 0.5 s after it, before its end."""
    count = max(1, int(np.ceil((end - start) / SECONDS_BETWEEN_FACES - 1e-9)))
    return [start + i * SECONDS_BETWEEN_FACES for i in range(count)]


@dataclass(frozen=True)
class FrameFaces:
    """The faces of one frame.

    Attributes:
        largest: the largest one, or the frame's central square where none is found.
        boxes: (K, 4) float32, x0, y0, x1, y1: all that were found, best first, in pixels.
        crops: the same cut out, the frame's central square for one that lies outside of the frame;
            empty: they were not asked for.
        centre: the frame's central square; None: it was not asked for.
    """

    largest: FaceCrop
    boxes: Floats
    crops: tuple[FaceCrop, ...] = ()
    centre: FaceCrop | None = None


def crop_faces(frames: Tensor, detector: FaceDetector) -> list[FaceCrop]:
    """Cut the largest face of each frame, or the frame's central square where none is found.

    The box is widened by the margin, cut at the frame's edges and rounded down to whole pixels, as
    facenet-pytorch does; the image is the mean over the pixels covered.

    Args:
        frames: (F, H, W, 3) uint8, RGB.
        detector: finds the faces.

    Returns:
        One FaceCrop per frame.
    """
    return [faces.largest for faces in look_for_faces(frames, detector)]


def look_for_faces(frames: Tensor, detector: FaceDetector, every: bool = False) -> list[FrameFaces]:
    """Find the faces of each frame and cut the largest one, as `crop_faces` does.

    Args:
        frames: (F, H, W, 3) uint8, RGB.
        detector: finds the faces.
        every: whether all faces are cut, and the frame's central square.

    Returns:
        One FrameFaces per frame.
    """
    images = frames.permute(0, 3, 1, 2)
    return [
        _cut(images[row : row + 1], faces.boxes, every)
        for row, faces in enumerate(detector.detect(frames))
    ]


def _cut(image: Tensor, boxes: Floats, every: bool) -> FrameFaces:
    """Cut the faces of one frame (1, 3, H, W)."""
    height, width = int(image.shape[2]), int(image.shape[3])
    centre = _centre(height, width)

    def crop(box: Floats | None) -> FaceCrop:
        place = None if box is None else _widen(box, height, width)
        found = place is not None
        place = centre if place is None else place
        cut = crop_area(image, np.zeros(1, np.int64), place[None], IMAGE_SIZE)
        pixels = cut[0].round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        return FaceCrop(pixels, place.astype(np.float32), found)

    largest = None
    if len(boxes):
        sides = boxes[:, 2:] - boxes[:, :2]
        largest = boxes[sides.prod(axis=1).argmax()]
    if not every:
        return FrameFaces(crop(largest), boxes)
    return FrameFaces(crop(largest), boxes, tuple(crop(box) for box in boxes), crop(None))


def _widen(box: Floats, height: int, width: int) -> npt.NDArray[np.int64] | None:
    """Add the margin and cut at the frame's edges; None if nothing is left."""
    x0, y0, x1, y1 = box.tolist()
    margin_x = MARGIN * (x1 - x0) / (IMAGE_SIZE - MARGIN) / 2
    margin_y = MARGIN * (y1 - y0) / (IMAGE_SIZE - MARGIN) / 2
    widened = np.array(
        [
            max(x0 - margin_x, 0),
            max(y0 - margin_y, 0),
            min(x1 + margin_x, width),
            min(y1 + margin_y, height),
        ]
    ).astype(np.int64)
    return widened if widened[2] > widened[0] and widened[3] > widened[1] else None


def _centre(height: int, width: int) -> npt.NDArray[np.int64]:
    side = min(height, width)
    x0, y0 = (width - side) // 2, (height - side) // 2
    return np.array([x0, y0, x0 + side, y0 + side], np.int64)
