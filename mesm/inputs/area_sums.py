"""Means over rectangles of many frames: by a compiled kernel, or from running sums.

Running sums read a frame once, however many sizes and crops are asked for. All sums are whole
numbers, so the means are those of `mesm.inputs.boxes` to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mesm.inputs.boxes import Ints, crop_area, resize_area
from mesm.inputs.compiled import area_means

T = TypeVar("T")

# Three sums share a 64-bit number; the carry from one into the next is undone by a difference, as
# long as a difference fits into so many bits.
_BITS = 21
_MASK = (1 << _BITS) - 1
# Pixels of a rectangle whose sum fits; and whose sum is exact in the compiled kernel.
_MOST_PIXELS = _MASK // 255
_MOST_COMPILED = 65_793


def in_threads(work: Callable[..., T], *given: Iterable[Any]) -> Iterator[T]:
    """`map` in as many threads as PyTorch has; for work that NumPy does, which holds no lock."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(work, *given)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, *given)


class FloatFrames:
    """Frames as floats about -1 to 1, on any device; see `AreaSums`."""

    def __init__(self, frames: Tensor) -> None:
        """Take frames (F, H, W, 3) uint8, RGB, on their device."""
        self.frames = frames

    @cached_property
    def _images(self) -> Tensor:
        images = self.frames.permute(0, 3, 1, 2).contiguous().float()
        return images.sub_(127.5).mul_(1 / 128)

    def resize(self, part: slice, height: int, width: int) -> Tensor:
        """Some frames, resized by area: (f, 3, height, width) float32, channels innermost."""
        resized = resize_area(self._images[part], height, width)
        return resized.contiguous(memory_format=torch.channels_last)

    def crop(self, rows: Ints, boxes: Ints, size: int) -> Tensor:
        """Crops of boxes, as of `mesm.inputs.boxes.crop_area`: (N, 3, size, size) float32."""
        return crop_area(self._images, rows, boxes, size)


class AreaMeans(FloatFrames):
    """The same on the CPU, by the compiled kernel."""

    def resize(self, part: slice, height: int, width: int) -> Tensor:
        """Some frames, resized by area: (f, 3, height, width) float32, channels innermost."""
        rows = np.arange(len(self.frames))[part]
        whole = np.array([0, 0, self.frames.shape[2], self.frames.shape[1]])
        boxes = np.broadcast_to(whole, (len(rows), 4))
        if _most_covered(boxes, height, width) > _MOST_COMPILED:
            return super().resize(part, height, width)
        return self._means(rows, boxes, height, width)

    def crop(self, rows: Ints, boxes: Ints, size: int) -> Tensor:
        """Crops of boxes, as of `mesm.inputs.boxes.crop_area`: (N, 3, size, size) float32."""
        if _most_covered(boxes, size, size) > _MOST_COMPILED:
            return super().crop(rows, boxes, size)
        return self._means(rows, boxes, size, size)

    def _means(self, rows: Ints, boxes: Ints, height: int, width: int) -> Tensor:
        given = torch.from_numpy(np.column_stack([rows, boxes]).astype(np.int32))
        return area_means(self.frames, given, height, width).permute(0, 3, 1, 2)


class AreaSums(FloatFrames):
    """The same on the CPU without kernels, from running sums."""

    @cached_property
    def _sums(self) -> npt.NDArray[np.int64]:
        """(F, H + 1, W + 1): over all pixels above and left."""
        count, height, width, _ = self.frames.shape
        sums = np.zeros((count, height + 1, width + 1), np.int64)

        def add_up(frame: npt.NDArray[np.uint8], own: npt.NDArray[np.int64]) -> None:
            packed = frame[..., 2].astype(np.int64)
            for channel in (1, 0):
                packed <<= _BITS
                packed += frame[..., channel]
            np.add.accumulate(packed, axis=1, out=own[1:, 1:])
            for above, row in pairwise(own):
                row += above

        list(in_threads(add_up, self.frames.numpy(), sums))
        return sums

    def resize(self, part: slice, height: int, width: int) -> Tensor:
        """Some frames, resized by area: (f, 3, height, width) float32, channels innermost."""
        y0, y1 = _edges(np.zeros(1, np.int64), self.frames.shape[1], height)
        x0, x1 = _edges(np.zeros(1, np.int64), self.frames.shape[2], width)
        y0, y1, x0, x1 = y0[0], y1[0], x0[0], x1[0]
        if (y1 - y0).max() * (x1 - x0).max() > _MOST_PIXELS:
            return super().resize(part, height, width)
        sums = self._sums[part]
        rows = sums.take(y1, axis=1)
        rows -= sums.take(y0, axis=1)
        total = rows.take(x1, axis=2)
        total -= rows.take(x0, axis=2)
        return _means(total, (y1 - y0)[:, None], x1 - x0)

    def crop(self, rows: Ints, boxes: Ints, size: int) -> Tensor:
        """Crops of boxes, as of `mesm.inputs.boxes.crop_area`: (N, 3, size, size) float32."""
        x0, x1 = (edge[:, None] for edge in _edges(boxes[:, 0], boxes[:, 2] - boxes[:, 0], size))
        y0, y1 = (edge[..., None] for edge in _edges(boxes[:, 1], boxes[:, 3] - boxes[:, 1], size))
        if len(rows) and (y1 - y0).max() * (x1 - x0).max() > _MOST_PIXELS:
            return super().crop(rows, boxes, size)
        height, width = self._sums.shape[1:]
        flat, image = self._sums.reshape(-1), rows[:, None, None] * height
        top, bottom = (image + y0) * width, (image + y1) * width
        total = flat.take(bottom + x1)
        total -= flat.take(bottom + x0)
        total -= flat.take(top + x1)
        total += flat.take(top + x0)
        return _means(total, y1 - y0, x1 - x0)


def _most_covered(boxes: Ints, height: int, width: int) -> int:
    """Pixels that an output pixel covers, at most: a part of a pixel counts at both edges."""
    if not len(boxes):
        return 0
    wide, high = (boxes[:, 2:] - boxes[:, :2]).max(axis=0)
    return int((wide // width + 2) * (high // height + 2))


def _edges(first: Ints, length: Ints | int, size: int) -> tuple[Ints, Ints]:
    """(N, size): where the pixels that each output pixel covers begin and end."""
    step = np.arange(size)
    whole = np.broadcast_to(np.asarray(length), first.shape)[:, None]
    return (
        first[:, None] + step * whole // size,
        first[:, None] + ((step + 1) * whole + size - 1) // size,
    )


def _means(total: npt.NDArray[np.int64], high: Ints, wide: Ints) -> Tensor:
    """Packed sums (N, h, w) over so many rows and columns as means (N, 3, h, w); ends `total`."""
    sums = np.empty((*total.shape, 3), np.float32)
    sums[..., 2] = total >> 2 * _BITS
    for channel in (0, 1):
        sums[..., channel] = total & _MASK
        total >>= _BITS
    flat = sums.reshape(*total.shape[:2], 3 * total.shape[2])
    rows = high.astype(np.float32)
    columns = np.repeat(wide.astype(np.float32), 3, axis=-1)
    # Exact: whole numbers below 2 to the power of 24, over 256. PyTorch, too, divides twice.
    flat *= np.float32(1 / 128)
    flat -= rows * columns * np.float32(255 / 256)
    flat /= rows
    flat /= columns
    return torch.from_numpy(sums).permute(0, 3, 1, 2)
