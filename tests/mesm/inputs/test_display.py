import gc
from fractions import Fraction

import av
import numpy as np
import pytest

from mesm.inputs.display import PictureError, square_pixels
from mesm.inputs.video import frames_at

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
NAMES = {RED: "r", GREEN: "g", BLUE: "b", WHITE: "w"}


def quarters(height=64, width=96):
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


def write(path, *, codec="mpeg4", pixels="yuv420p", change=lambda stream: None, image=None):
    image = quarters() if image is None else image
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=30)
        stream.height, stream.width, stream.pix_fmt = *image.shape[:2], pixels
        change(stream)
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def first(path):
    return next(frames_at(path, [0.05]))[1]


def corners(image):
    """The colours of the corners: above left, above right, below left, below right."""
    points = [image[y, x].astype(int) for y in (5, -6) for x in (5, -6)]
    return "".join(
        NAMES[min(NAMES, key=lambda c: np.abs(point - c).max())]
        for point in points
        if min(np.abs(point - c).max() for c in NAMES) < 12
    )


@pytest.mark.parametrize(
    ("turn", "wanted"),
    [
        ({"degrees": 0}, "rgbw"),
        ({"degrees": 90}, "gwrb"),
        ({"degrees": 180}, "wbgr"),
        ({"degrees": 270}, "brwg"),
        ({"degrees": 0, "hflip": True}, "grwb"),
        ({"degrees": 0, "vflip": True}, "bwrg"),
        ({"degrees": 2}, "rgbw"),
    ],
)
def test_pictures_are_turned_and_mirrored_as_the_file_says(tmp_path, turn, wanted):
    file = write(tmp_path / "a.mp4", change=lambda s: s.set_display_rotation(**turn))
    image = first(file)
    assert corners(image) == wanted
    assert image.shape == ((96, 64, 3) if turn["degrees"] in (90, 270) else (64, 96, 3))
    assert image.flags.c_contiguous


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_pixels_become_square(tmp_path, name):
    def wide(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)

    image = first(write(tmp_path / name, change=wide))
    assert image.shape == (64, 102, 3)
    assert corners(image) == "rgbw"


def test_pixels_that_cannot_be():
    assert square_pixels(720, None) == square_pixels(720, Fraction(1)) == 720
    assert square_pixels(720, Fraction(8, 9)) == 640
    for wrong in (Fraction(200), Fraction(1, 200), Fraction(-1)):
        with pytest.raises(PictureError, match=r"its pixels are .*, wanted between 1:8 and 8:1"):
            square_pixels(720, wrong)


@pytest.mark.parametrize(
    ("codec", "pixels"),
    [
        ("libx264", "yuv420p10le"),
        ("libx264", "yuv422p"),
        ("ffv1", "yuv420p12le"),
        ("ffv1", "yuv444p"),
        ("ffv1", "yuva420p"),
        ("ffv1", "bgra"),
        ("ffv1", "rgb48le"),
    ],
)
def test_odd_pixel_formats(tmp_path, codec, pixels):
    assert corners(first(write(tmp_path / "a.mkv", codec=codec, pixels=pixels))) == "rgbw"


def test_odd_sizes(tmp_path):
    image = first(write(tmp_path / "a.mkv", codec="ffv1", image=quarters(43, 67)))
    assert image.shape == (43, 67, 3)
    assert corners(image) == "rgbw"
    assert first(write(tmp_path / "b.mkv", codec="ffv1", image=quarters(1, 1))).shape == (1, 1, 3)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114)])
def test_colours_follow_the_matrix_and_range_of_the_file(tmp_path, matrix, red, blue, full):
    wanted = np.array([200, 60, 30])
    r, g, b = wanted / 255
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    planes = [255 * y, 128 + 255 * u, 128 + 255 * v]
    if not full:
        planes = [16 + 219 * y, 128 + 224 * u, 128 + 224 * v]
    image = np.stack([np.full((48, 64), round(p), np.uint8) for p in planes])
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame.from_ndarray(image, format="yuv444p")
        frame.colorspace, frame.color_range, frame.pts = matrix, 2 if full else 1, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    assert np.abs(first(tmp_path / "a.mkv")[20, 20] - wanted).max() <= 2


def test_pictures_that_were_shown_do_not_wait_for_pythons_collector(tmp_path):
    file = write(tmp_path / "a.mp4", change=lambda s: s.set_display_rotation(degrees=90))
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            first(file)
        kept = [one for one in gc.get_objects() if type(one) is av.VideoFrame]
    finally:
        gc.enable()
    assert len(kept) < 5
