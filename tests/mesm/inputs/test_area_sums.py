"""Means by kernel and by running sums are those by reading every pixel, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mesm.inputs.area_sums import AreaMeans, AreaSums, FloatFrames, in_threads
from mesm.inputs.boxes import crop_area, resize_area


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    random = np.random.default_rng(0)
    found = random.integers(0, 256, (3, 131, 200, 3), np.uint8)
    found[1] = 255  # the largest sums
    return torch.from_numpy(found)


def images_of(frames: torch.Tensor) -> torch.Tensor:
    return frames.permute(0, 3, 1, 2).contiguous().float().sub_(127.5).mul_(1 / 128)


@pytest.mark.parametrize("threads", [1, 2])
def test_sizes(frames: torch.Tensor, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    images = images_of(frames)
    for kind in (AreaMeans, AreaSums, FloatFrames):
        found = kind(frames)
        for height, width in ((131, 200), (79, 121), (12, 19), (2, 3), (1, 2), (140, 210)):
            resized = found.resize(slice(1, 3), height, width)
            assert torch.equal(resized, resize_area(images[1:3], height, width))
            assert resized.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", [AreaMeans, AreaSums])
def test_crops(frames: torch.Tensor, kind: type[FloatFrames]) -> None:
    images, found = images_of(frames), kind(frames)
    boxes = np.array([[0, 0, 200, 131], [3, 5, 11, 9], [150, 100, 200, 131], [7, 7, 8, 8]])
    rows = np.array([1, 0, 2, 2])
    for size in (1, 24, 48):
        assert torch.equal(found.crop(rows, boxes, size), crop_area(images, rows, boxes, size))
    assert found.crop(rows[:0], boxes[:0], 24).shape == (0, 3, 24, 24)


@pytest.mark.parametrize("kind", [AreaMeans, AreaSums])
def test_rectangles_whose_sum_would_not_fit(kind: type[FloatFrames]) -> None:
    frames = torch.full((1, 200, 200, 3), 255, dtype=torch.uint8)
    found, images = kind(frames), images_of(frames)
    for size in (2, 3):  # of 10,000 pixels, and of some 4,500
        assert torch.equal(found.resize(slice(0, 1), size, size), resize_area(images, size, size))
    whole = np.array([[0, 0, 200, 200]])
    crop = found.crop(np.zeros(1, np.int64), whole, 2)
    assert torch.equal(crop, crop_area(images, np.zeros(1, np.int64), whole, 2))


def test_work_in_threads_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert list(in_threads(lambda a, b: a * b, range(9), range(9))) == [n * n for n in range(9)]


def test_the_kernel_takes_what_it_sums_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face of a 4K picture among it: 2160 pixels for R-Net's 24."""
    random = np.random.default_rng(1)
    frames = torch.from_numpy(random.integers(0, 256, (1, 500, 500, 3), np.uint8))
    images, whole = images_of(frames), np.array([[0, 0, 500, 500]])
    found, rows = AreaMeans(frames), np.zeros(1, np.int64)
    wanted = crop_area(images, rows, whole, 2)
    monkeypatch.setattr(FloatFrames, "crop", None)
    assert torch.equal(found.crop(rows, whole, 2), wanted)
