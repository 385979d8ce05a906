"""The speaker's face in video frames, as the models see it: 48x48 pixels."""

from __future__ import annotations

from dataclasses import dataclass

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
    height, width = int(frames.shape[1]), int(frames.shape[2])
    boxes = np.empty((len(frames), 4), np.int64)
    found = []
    for row, faces in enumerate(detector.detect(frames)):
        box = None
        if len(faces.boxes):
            sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
            box = _widen(faces.boxes[sides.prod(axis=1).argmax()], height, width)
        found.append(box is not None)
        boxes[row] = _centre(height, width) if box is None else box
    images = frames.permute(0, 3, 1, 2)
    crops = []
    for row, box in enumerate(boxes):
        crop = crop_area(
            images[row : row + 1].float(), np.zeros(1, np.int64), box[None], IMAGE_SIZE
        )
        pixels = crop[0].round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        crops.append(FaceCrop(pixels, box.astype(np.float32), found[row]))
    return crops


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
