import numpy as np
import pytest
import torch

from mesm.inputs.boxes import crop_area, crop_area_at_once, resize_area, square, suppress


def _overlap(a, b, kind):
    extra = 1 if kind == "smaller" else 0
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + extra)
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + extra)
    area_a = (a[2] - a[0] + extra) * (a[3] - a[1] + extra)
    area_b = (b[2] - b[0] + extra) * (b[3] - b[1] + extra)
    return w * h / (min(area_a, area_b) if kind == "smaller" else area_a + area_b - w * h)


@pytest.mark.parametrize("kind", ["union", "smaller"])
def test_suppression_against_the_definition(kind):
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 60, (80, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 30, (80, 2))], 1).astype(np.float32)
    scores = rng.random(80).astype(np.float32)
    scores[10] = scores[20] = scores[30]
    images = rng.integers(0, 3, 80)
    wanted = []
    for image in range(3):
        kept = []
        for row in sorted(np.flatnonzero(images == image), key=lambda r: (-scores[r], r)):
            if all(_overlap(boxes[row], boxes[k], kind) <= 0.4 for k in kept):
                kept.append(row)
        wanted += kept
    assert suppress(boxes, scores, images, 0.4, kind).tolist() == wanted


def test_suppression_of_nothing_and_of_boxes_without_area():
    nothing = np.empty((0, 4), np.float32)
    assert len(suppress(nothing, np.empty(0, np.float32), np.empty(0, np.int64), 0.5)) == 0
    points = np.array([[1, 1, 1, 1], [1, 1, 1, 1]], np.float32)
    scores = np.ones(2, np.float32)
    assert suppress(points, scores, np.zeros(2, np.int64), 0.5).tolist() == [0, 1]


def test_square_keeps_the_centre():
    assert square(np.array([[0, 10, 20, 20]], np.float32)).tolist() == [[0, 5, 20, 25]]


def test_area_is_the_mean_of_the_pixels_covered():
    image = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert torch.equal(
        resize_area(image, 2, 3), image.unflatten(2, (2, 3)).unflatten(4, (3, 2)).mean((3, 5))
    )
    crop = crop_area(image, np.zeros(1, np.int64), np.array([[2, 1, 6, 5]]), 2)
    block = image[:, :, 1:5, 2:6]
    assert torch.equal(crop, block.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5)))


def test_crops_at_once_are_those_one_by_one():
    torch.manual_seed(0)
    images = torch.rand(3, 3, 70, 90) * 2 - 1
    rng = np.random.default_rng(1)
    first = rng.integers(0, [89, 69], (60, 2))
    last = first + 1 + rng.integers(0, [90, 70] - first)
    boxes = np.concatenate([first, np.minimum(last, [90, 70])], 1)
    # One pixel, a row, a column, the whole image, and exactly the size asked for.
    boxes[:5] = [[5, 6, 6, 7], [0, 3, 90, 4], [8, 0, 9, 70], [0, 0, 90, 70], [10, 20, 34, 44]]
    rows = rng.integers(0, 3, 60)
    for size in (24, 48):
        found = crop_area_at_once(images, rows, boxes, size)
        assert found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found, crop_area(images, rows, boxes, size), rtol=0, atol=1e-6)
    nothing = crop_area_at_once(images, rows[:0], boxes[:0], 24)
    assert nothing.shape == (0, 3, 24, 24)


def test_suppression_is_greedy_however_many_boxes() -> None:
    random = np.random.default_rng(0)
    for count in (127, 128, 129, 300):
        corners = random.uniform(0, 200, (count, 2))
        boxes = np.concatenate([corners, corners + random.uniform(5, 60, (count, 2))], 1)
        boxes = boxes.astype(np.float32)
        scores = random.uniform(0.6, 1, count).astype(np.float32)
        kept: list[int] = []
        for row in np.argsort(-scores, kind="stable"):
            x0, y0 = np.maximum(boxes[row, :2], boxes[kept, :2]).T
            x1, y1 = np.minimum(boxes[row, 2:], boxes[kept, 2:]).T
            shared = np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            if not (shared / (areas[row] + areas[kept] - shared) > 0.5).any():
                kept.append(int(row))
        images = np.zeros(count, np.int64)
        assert suppress(boxes, scores, images, 0.5).tolist() == kept
        assert 10 < len(kept) < count
