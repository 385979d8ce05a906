"""How a decoded picture is to be shown: the shape of its pixels, turned and mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame

# Pixels of real recordings are at most this many times longer than wide, or the reverse.
LONGEST_PIXEL = 8


class PictureError(ValueError):
    """A picture that cannot be turned into RGB."""


@dataclass(frozen=True)
class Orientation:
    """How a picture's rows and columns become those that are shown.

    Attributes:
        transposed: rows and columns change places; first of the three.
        mirrored: then the columns are reversed.
        flipped: then the rows are reversed.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False


UPRIGHT = Orientation()


def orientation(frame: VideoFrame) -> Orientation:
    """Read the display matrix that goes with a frame; the nearest quarter turn counts."""
    # Not `frame.side_data`: the frame keeps that, and that the frame, and such a ring waits for
    # Python's collector, as do hundreds of pictures then.
    container: Any = SideDataContainer
    data = container(frame).get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    numbers = np.frombuffer(bytes(data), np.int32)
    if len(numbers) < 5:
        return UPRIGHT
    # A point x, y of the decoded picture is shown at a x + c y, b x + d y.
    a, b, _, c, d = (int(number) for number in numbers[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def square_pixels(width: int, aspect: Fraction | None) -> int:
    """Give the width at which a picture's pixels are square; its height stays.

    Args:
        width: in pixels.
        aspect: a pixel's width over its height; None or 0: nothing is known, so square.

    Raises:
        PictureError: no camera has such pixels.
    """
    if aspect is None or aspect == 0 or aspect == 1:
        return width
    if not Fraction(1, LONGEST_PIXEL) <= aspect <= LONGEST_PIXEL:
        raise PictureError(
            f"its pixels are {aspect.numerator}:{aspect.denominator}, wanted between "
            f"1:{LONGEST_PIXEL} and {LONGEST_PIXEL}:1; give it the right aspect ratio (ffmpeg -i "
            "IN -c copy -aspect 4:3 OUT)"
        )
    return max(1, round(width * aspect))


def to_rgb(frame: VideoFrame, aspect: Fraction | None) -> npt.NDArray[np.uint8]:
    """Turn a frame into what a viewer sees.

    Colours follow the frame's own range and matrix; pixels become square by a change of width; the
    picture is turned and mirrored last. Alpha is left out, and the two fields of an interlaced
    frame stay woven.

    Args:
        frame: as decoded.
        aspect: a pixel's width over its height; None: square.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        PictureError: the frame's format has no way to RGB, or its pixels cannot be made square.
    """
    width = square_pixels(frame.width, aspect)
    try:
        if width == frame.width:
            image = frame.to_ndarray(format="rgb24")
        else:
            image = frame.to_ndarray(format="rgb24", width=width)
    except (OSError, ValueError, MemoryError, NotImplementedError) as error:
        raise PictureError(
            f"its pictures of {frame.width} x {frame.height}, {frame.format.name}, cannot be "
            f"turned into RGB ({error}); convert it (ffmpeg -i IN -pix_fmt yuv420p OUT)"
        ) from error
    how = orientation(frame)
    if how == UPRIGHT:
        return np.asarray(image, np.uint8)
    if how.transposed:
        image = image.transpose(1, 0, 2)
    if how.mirrored:
        image = image[:, ::-1]
    if how.flipped:
        image = image[::-1]
    return np.ascontiguousarray(image, np.uint8)
