"""The drawn cells are the kept ones, and the outlines lie where the regions are."""

import io

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from mesm.plots.attention import draw_faces, draw_spectrogram
from mesm.plots.panels import Row
from mesm.plots.style import png_bytes


def row(height: int, width: int, image: np.ndarray, regions: list[list[float]]) -> Row:
    generator = np.random.default_rng(0)
    attention, kept = [], []
    for block in range(3):
        weights = generator.random((height >> block, width >> block)).astype(np.float32)
        attention.append(weights / weights.sum())
        kept.append(weights > 0.5)
    return Row(image, attention, kept, np.array(regions, dtype=float).reshape(-1, 4), "1.0 s")


def face_row(regions: list[list[float]]) -> Row:
    image = np.random.default_rng(1).integers(0, 255, (48, 48, 3)).astype(np.uint8)
    return row(24, 24, image, regions)


def test_faces_have_one_line_per_frame_and_outlines_on_input_and_kept() -> None:
    figure = draw_faces([face_row([[10, 30, 20, 40]]), face_row([])], "title")
    (axes,) = figure.axes
    assert len(axes.images) == 2 * 7
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(boxes) == 4
    assert {(box.get_width(), box.get_height()) for box in boxes} == {(10.0, 10.0)}
    left, _, top, _ = (float(edge) for edge in axes.images[0].get_extent())
    bottom, top = sorted((top, float(axes.images[0].get_extent()[3])))[::-1]
    assert boxes[0].get_xy() == (left + 10, top + 30)
    assert bottom == top + 48


def test_spectrogram_is_cut_at_sixteen_chunks_and_low_bins_lie_below() -> None:
    image = np.zeros((128, 640), dtype=np.float32)
    image[:10] = 1
    figure = draw_spectrogram(row(64, 320, image, [[0, 0, 32, 64]]), 32, 0.0125)
    (axes,) = figure.axes
    assert len(axes.images) == 7
    drawn = np.asarray(axes.images[0].get_array())
    assert drawn.shape == (128, 512)
    assert drawn[-1].min() > drawn[0].max()
    box = next(patch for patch in axes.patches if isinstance(patch, Rectangle))
    extent = axes.images[0].get_extent()
    assert box.get_y() + box.get_height() == pytest.approx(max(extent[2:]))
    assert box.get_width() == pytest.approx((extent[1] - extent[0]) / 16)


def test_padding_is_hatched_and_no_part_of_contrast_or_shares() -> None:
    image = np.full((128, 64), -23.0, dtype=np.float32)
    image[:, :40:2] = -20
    padded = image.copy()
    padded[:, 40:] = np.nan
    kept = [np.zeros((64 >> block, 32 >> block), dtype=bool) for block in range(3)]
    kept[0][:, 20:] = True  # all of the padding
    kept[1][:, :5] = True  # half of the sound
    attention = [np.full(cells.shape, 0.5, np.float32) for cells in kept]
    row = Row(padded, attention, kept, np.zeros((0, 4)), "a")
    (axes,) = draw_spectrogram(row, 32, 0.0125).axes
    first = np.ma.getmaskarray(axes.images[0].get_array())
    assert first[:, 40:].all()
    assert not first[:, :40].any()
    drawn = np.asarray(axes.images[0].get_array())[:, :40]
    assert drawn.max() == pytest.approx(1)
    said = [text.get_text() for text in axes.texts]
    assert "kept 1\n0 % kept" in said
    assert "kept 2\n50 % kept" in said
    assert any(text.startswith("Hatched: padding of the last chunk (0.4 s)") for text in said)
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert len(hatched) == 7
    (left, right) = axes.images[0].get_extent()[:2]
    for patch in hatched:
        assert isinstance(patch, Rectangle)
        assert patch.get_x() == pytest.approx(left + 40 / 64 * (right - left))
        assert patch.get_x() + patch.get_width() == pytest.approx(right)
    whole = draw_spectrogram(Row(image, attention, kept, np.zeros((0, 4)), "a"), 32, 0.0125)
    assert not [patch for patch in whole.axes[0].patches if patch.get_hatch()]


def test_silence_is_dark() -> None:
    silent = row(64, 32, np.full((128, 64), -23.0, dtype=np.float32), [])
    (axes,) = draw_spectrogram(silent, 32, 0.0125).axes
    picture = axes.images[0]
    assert picture.norm(np.asarray(picture.get_array())).max() < 0.01


def test_same_input_same_png_and_it_is_one() -> None:
    first = png_bytes(draw_faces([face_row([])], "title"))
    assert first == png_bytes(draw_faces([face_row([])], "title"))
    assert Image.open(io.BytesIO(first)).size[0] > 600


def test_a_title_of_three_lines_is_above_the_heads() -> None:
    figure = draw_faces([face_row([])], "one\ntwo\nthree")
    figure.canvas.draw()
    (axes,) = figure.axes
    title, *heads = [text.get_window_extent() for text in axes.texts[:8]]
    assert title.y0 > max(head.y1 for head in heads)
