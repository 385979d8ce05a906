"""Boxes in images: greedy non-maximum suppression and averaging crops to one size."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def suppress(
    boxes: Floats,
    scores: Floats,
    images: Ints,
    threshold: float,
    overlap: Literal["union", "smaller"] = "union",
) -> Ints:
    """Greedy non-maximum suppression inside each image.

    Args:
        boxes: (N, 4) float32, x0, y0, x1, y1.
        scores: (N,) float32.
        images: (N,) int64, the image a box belongs to.
        threshold: a box goes if it overlaps a better one by more than this.
        overlap: intersection over union, or over the smaller box; the latter counts pixels, so a
            box is one wider than x1 - x0 (as the original MTCNN does in its last stage).

    Returns:
        (K,) int64 rows kept: by image, then by falling score; of equal scores the lower row first.
    """
    kept = []
    extra = 1.0 if overlap == "smaller" else 0.0
    for image in np.unique(images):
        rows = np.flatnonzero(images == image)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        x0, y0, x1, y1 = boxes[rows].T
        areas = (x1 - x0 + extra) * (y1 - y0 + extra)
        while rows.size:
            kept.append(rows[0])
            w = np.minimum(x1[0], x1[1:]) - np.maximum(x0[0], x0[1:]) + extra
            h = np.minimum(y1[0], y1[1:]) - np.maximum(y0[0], y0[1:]) + extra
            shared = np.maximum(w, 0) * np.maximum(h, 0)
            if overlap == "union":
                whole = areas[0] + areas[1:] - shared
            else:
                whole = np.minimum(areas[0], areas[1:])
            # A box without area overlaps nothing.
            ratio = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
            stays = np.flatnonzero(ratio <= threshold) + 1
            rows, areas = rows[stays], areas[stays]
            x0, y0, x1, y1 = x0[stays], y0[stays], x1[stays], y1[stays]
    return np.asarray(kept, dtype=np.int64)


def square(boxes: Floats) -> Floats:
    """Widen boxes (N, 4) about their centre to squares with the longer side."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    side = np.maximum(width, height)
    x0 = boxes[:, 0] + width * 0.5 - side * 0.5
    y0 = boxes[:, 1] + height * 0.5 - side * 0.5
    return np.stack([x0, y0, x0 + side, y0 + side], axis=1).astype(np.float32)


def resize_area(images: Tensor, height: int, width: int) -> Tensor:
    """Resize (N, C, H, W) float images; an output pixel is the mean of the pixels it covers."""
    return F.interpolate(images, size=(height, width), mode="area")


def crop_area(images: Tensor, rows: Ints, boxes: Ints, size: int) -> Tensor:
    """Crop whole-pixel boxes and resize each to a square by area.

    Args:
        images: (F, 3, H, W) float32.
        rows: (N,) int64, the image of each box.
        boxes: (N, 4) int64, x0, y0 inclusive, x1, y1 exclusive, inside the image, not empty.
        size: side of the result.

    Returns:
        (N, 3, size, size) float32, channels innermost in memory, on the images' device.
    """
    if images.device.type != "cpu":
        return crop_area_at_once(images, rows, boxes, size)
    shape = (len(rows), images.shape[1], size, size)
    crops = torch.empty(shape, memory_format=torch.channels_last)
    for i, (row, (x0, y0, x1, y1)) in enumerate(zip(rows.tolist(), boxes.tolist(), strict=True)):
        crops[i] = resize_area(images[row : row + 1, :, y0:y1, x0:x1], size, size)[0]
    return crops


def crop_area_at_once(images: Tensor, rows: Ints, boxes: Ints, size: int) -> Tensor:
    """`crop_area` in a few launches, however many boxes: for GPUs.

    The sum of a rectangle is taken from four values of a running sum over the image; takes and
    gives what `crop_area` does, to the last digits of float32.
    """
    device = images.device
    count, channels, height, width = images.shape
    # In float64: a difference of float32 sums over a whole frame would lose four digits.
    sums = images.new_zeros((count, channels, height + 1, width + 1), dtype=torch.float64)
    sums[:, :, 1:, 1:] = images.double().cumsum(2).cumsum(3)
    corners = torch.from_numpy(boxes).to(device)
    step = torch.arange(size, device=device)

    def covered(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """(N, size): where each output pixel's pixels begin and end."""
        length = (last - first)[:, None]
        return (
            first[:, None] + step * length // size,
            first[:, None] + ((step + 1) * length + size - 1) // size,
        )

    x0, x1 = covered(corners[:, 0], corners[:, 2])
    y0, y1 = covered(corners[:, 1], corners[:, 3])
    image = torch.from_numpy(rows).to(device)[:, None, None]

    def corner(y: Tensor, x: Tensor) -> Tensor:
        """(N, size, size, 3)."""
        return sums[image, :, y[:, :, None], x[:, None, :]]

    total = corner(y1, x1) - corner(y0, x1) - corner(y1, x0) + corner(y0, x0)
    area = (y1 - y0)[:, :, None] * (x1 - x0)[:, None, :]
    return (total / area[..., None]).float().permute(0, 3, 1, 2)
