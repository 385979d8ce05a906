"""Boxes in images: greedy non-maximum suppression and averaging crops to one size."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

# Boxes whose overlaps are reckoned at once.
_AT_ONCE = 128

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
    kept = [np.empty(0, np.int64)]
    for image in np.unique(images):
        rows = np.flatnonzero(images == image)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        kept.append(rows[_first_of_each(boxes[rows], threshold, overlap)])
    return np.concatenate(kept)


def _first_of_each(boxes: Floats, threshold: float, overlap: str) -> list[int]:
    """The places of the boxes (N, 4), best first, that no better one suppresses."""
    extra = 1.0 if overlap == "smaller" else 0.0
    x0, y0, x1, y1 = boxes.T
    areas = (x1 - x0 + extra) * (y1 - y0 + extra)

    def beyond(one: slice, others: slice) -> npt.NDArray[np.bool_]:
        """(n, m): whether each of some boxes overlaps each of others by too much."""
        w = np.minimum(x1[one, None], x1[others]) - np.maximum(x0[one, None], x0[others])
        h = np.minimum(y1[one, None], y1[others]) - np.maximum(y0[one, None], y0[others])
        shared = np.maximum(w + extra, 0) * np.maximum(h + extra, 0)
        if overlap == "union":
            whole = areas[one, None] + areas[others] - shared
        else:
            whole = np.minimum(areas[one, None], areas[others])
        # A box without area overlaps nothing.
        ratio = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
        return ~(ratio <= threshold)

    left, kept = np.ones(len(boxes), np.bool_), []
    for first in range(0, len(boxes), _AT_ONCE):
        block, after = slice(first, first + _AT_ONCE), slice(first + _AT_ONCE, None)
        among = beyond(block, block)
        for place in range(len(among)):
            if left[first + place]:
                kept.append(first + place)
                left[block][place + 1 :] &= ~among[place, place + 1 :]
                if after.start < len(boxes):
                    left[after] &= ~beyond(slice(first + place, first + place + 1), after)[0]
    return kept


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
        images: (F, 3, H, W) float32 or uint8.
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
        part = images[row : row + 1, :, y0:y1, x0:x1].float()
        crops[i] = resize_area(part, size, size)[0]
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
