"""The pieces of the attention's pictures: a row's content, red over grey, panels on one canvas."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mesm.plots.style import new_figure

RED = "#E3170A"
OUTLINE = "#00CDEB"
NO_CANDIDATE = "#D5D8DC"
HATCH = "#6F7780"
PADDING_LIGHT = 0.8


@dataclass(frozen=True)
class Row:
    """One input with what every block weighed and kept of it.

    Attributes:
        image: (H, W, 3) uint8 for a face, (mel bins, columns) float32 for a spectrogram, NaN where
            its last chunk is padding.
        attention: per block (h, w) float32, the softmax over the candidates; 0 elsewhere.
        kept: per block (h, w) bool.
        regions: (R, 4) x0, y0, x1, y1 in the image's pixels: what was planted there.
        label: said at the left of the row.
    """

    image: NDArray[np.generic]
    attention: Sequence[NDArray[np.float32]]
    kept: Sequence[NDArray[np.bool_]]
    regions: NDArray[np.float64]
    label: str


def enlarge(grid: NDArray[np.generic], height: int, width: int) -> NDArray[np.generic]:
    """Repeat each cell of a (h, w) grid to fill (height, width), which h and w must divide."""
    rows, columns = height // grid.shape[0], width // grid.shape[1]
    return np.repeat(np.repeat(grid, rows, axis=0), columns, axis=1)


def to_grey(image: NDArray[np.generic]) -> NDArray[np.float64]:
    """The image as (H, W) in 0–1; padding stays NaN and has no part in the contrast."""
    if image.ndim == 3:
        return image.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255
    low, high = np.nanpercentile(image.astype(np.float64), [2, 99.8])
    return np.clip((image - low) / max(high - low, 1e-9), 0, 1)


def kept_overlay(image: NDArray[np.generic], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(H, W, 3) in 0–1: the image in grey, the kept cells in red over it.

    A spectrogram is drawn as ink on paper: red over its dark silence would hardly be seen.
    """
    light = to_grey(image) if image.ndim == 3 else 1 - to_grey(image)
    light = np.where(np.isnan(light), PADDING_LIGHT, light)
    grey = 0.2 + 0.8 * np.repeat(light[:, :, None], 3, axis=2)
    mask = enlarge(kept, *grey.shape[:2])[:, :, None]
    return np.where(mask, 0.4 * grey + 0.6 * np.array(to_rgb(RED)) * (0.4 + 0.6 * grey), grey)


def outline(axes: Axes, regions: NDArray[np.float64], left: float, top: float) -> None:
    """Draw regions of a panel whose pixel (0, 0) has its corner at (left, top)."""
    for x0, y0, x1, y1 in regions:
        corner = (left + x0, top + y0)
        axes.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, ec=OUTLINE, lw=1.0))


def hatch(axes: Axes, left: float, top: float, size: tuple[float, float]) -> None:
    """Hatch a part of a panel, `size` wide and high: it is padding."""
    corner = (left, top)
    axes.add_patch(Rectangle(corner, *size, fill=False, ec=HATCH, lw=0, hatch="//////"))


def kept_share(kept: NDArray[np.bool_]) -> str:
    """The share of kept cells, as it stands below a panel."""
    return f"{100 * kept.mean():.0f} % kept"


def canvas(width: float, height: float, scale: float) -> tuple[Figure, Axes]:
    """A figure that is one axes, in units of which `scale` make an inch, y downwards."""
    figure = new_figure(width / scale, height / scale, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return figure, axes


def put_image(
    axes: Axes,
    picture: NDArray[np.generic],
    left: float,
    top: float,
    size: tuple[float, float],
    colours: str | None = None,
    upwards: bool = False,
    brightest: float | None = None,
) -> None:
    """Show a picture at (left, top), `size` wide and high.

    Args:
        axes: where to.
        picture: with `colours` (h, w), else (h, w, 3).
        left: of its corner.
        top: of its corner.
        size: width and height.
        colours: name of a colour map, which begins at 0.
        upwards: whether its last row is at the top.
        brightest: the value at which the colour map ends; None: the picture's largest.
    """
    width, height = size
    if colours:
        # A site that was no candidate got no attention at all; it is shown apart from little.
        picture = np.ma.masked_invalid(np.ma.masked_equal(picture, 0))
    axes.imshow(
        picture[::-1] if upwards else picture,
        extent=(left, left + width, top + height, top),
        cmap=colormaps[colours].with_extremes(bad=NO_CANDIDATE) if colours else None,
        vmin=0 if colours else None,
        vmax=brightest,
        interpolation="nearest",
        aspect="auto",
        origin="upper",
    )
