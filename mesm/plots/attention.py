"""What each attention weighs and keeps: over faces (Figure 3) and spectrograms (Figures 4, 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mesm.plots.style import FAINT, INK, new_figure

RED = "#E3170A"
OUTLINE = "#00CDEB"
HEAT_MAP = "inferno"
NO_CANDIDATE = "#D5D8DC"
MOST_CHUNKS = 16


@dataclass(frozen=True)
class Row:
    """One input with what every block weighed and kept of it.

    Attributes:
        image: (H, W, 3) uint8 for a face, (mel bins, columns) float32 for a spectrogram.
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


def _grey(image: NDArray[np.generic]) -> NDArray[np.float64]:
    """The image as (H, W) in 0–1."""
    if image.ndim == 3:
        return image.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255
    low, high = np.percentile(image.astype(np.float64), [2, 99.8])
    return np.clip((image - low) / max(high - low, 1e-9), 0, 1)


def kept_overlay(image: NDArray[np.generic], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(H, W, 3) in 0–1: the image in grey, the kept cells in red over it.

    A spectrogram is drawn as ink on paper: red over its dark silence would hardly be seen.
    """
    light = _grey(image) if image.ndim == 3 else 1 - _grey(image)
    grey = 0.2 + 0.8 * np.repeat(light[:, :, None], 3, axis=2)
    mask = enlarge(kept, *grey.shape[:2])[:, :, None]
    return np.where(mask, 0.4 * grey + 0.6 * np.array(to_rgb(RED)) * (0.4 + 0.6 * grey), grey)


def _outlines(axes: Axes, regions: NDArray[np.float64], left: float, top: float) -> None:
    """Draw regions of a panel whose pixel (0, 0) has its corner at (left, top)."""
    for x0, y0, x1, y1 in regions:
        corner = (left + x0, top + y0)
        axes.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, ec=OUTLINE, lw=1.0))


def _share(kept: NDArray[np.bool_]) -> str:
    return f"{100 * kept.mean():.0f} % kept"


def _canvas(width: float, height: float, scale: float) -> tuple[Figure, Axes]:
    """A figure that is one axes, in units of which `scale` make an inch, y downwards."""
    figure = new_figure(width / scale, height / scale, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return figure, axes


def _put(
    axes: Axes,
    picture: NDArray[np.generic],
    left: float,
    top: float,
    size: tuple[float, float],
    colours: str | None = None,
    upwards: bool = False,
) -> None:
    width, height = size
    if colours:
        # A site that was no candidate got no attention at all; it is shown apart from little.
        picture = np.ma.masked_equal(picture, 0)
    axes.imshow(
        picture[::-1] if upwards else picture,
        extent=(left, left + width, top + height, top),
        cmap=colormaps[colours].with_extremes(bad=NO_CANDIDATE) if colours else None,
        vmin=0 if colours else None,
        interpolation="nearest",
        aspect="auto",
        origin="upper",
    )


def draw_faces(rows: Sequence[Row], title: str) -> Figure:
    """One line per face: the input, then per block the attention and, in red, what it keeps."""
    blocks = len(rows[0].kept)
    side = rows[0].image.shape[0]
    step_x, step_y, left, top = side + 5, side + 9, 17, 27
    width, height = left + (1 + 2 * blocks) * step_x, top + len(rows) * step_y + 2
    figure, axes = _canvas(width, height, scale=39)
    axes.text(width / 2, 5, title, ha="center", va="top", fontsize=9, color=INK)
    heads = ["input"]
    for block in range(1, blocks + 1):
        heads += [f"attention {block}", f"kept {block}"]
    for column, head in enumerate(heads):
        x = left + column * step_x + side / 2
        axes.text(x, top - 2, head, ha="center", va="bottom", fontsize=9, color=INK)
    for line, row in enumerate(rows):
        y = top + line * step_y
        axes.text(
            left - 3,
            y + side / 2,
            row.label,
            rotation=90,
            ha="right",
            va="center",
            ma="center",
            fontsize=8,
            color=INK,
        )
        _put(axes, row.image, left, y, (side, side))
        _outlines(axes, row.regions, left, y)
        for block in range(blocks):
            x = left + (1 + 2 * block) * step_x
            _put(axes, row.attention[block], x, y, (side, side), HEAT_MAP)
            x += step_x
            _put(axes, kept_overlay(row.image, row.kept[block]), x, y, (side, side))
            _outlines(axes, row.regions, x, y)
            share = _share(row.kept[block])
            axes.text(
                x + side / 2, y + side + 1.5, share, ha="center", va="top", fontsize=7, color=FAINT
            )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure


def draw_spectrogram(
    row: Row, chunk_columns: int, seconds_per_column: float, real_columns: int
) -> Figure:
    """The clip's spectrogram over time, and below it per block the attention and the kept sites.

    Only the first 16 chunks are drawn of a longer clip. Each attention map is one softmax per
    chunk, so brightness compares within a chunk. From `real_columns` on the last chunk is padding.
    """
    columns = min(row.image.shape[1], MOST_CHUNKS * chunk_columns)
    image = row.image[:, :columns]
    bins = image.shape[0]
    blocks = len(row.kept)
    names = ["input"]
    # Silence is dark, not absent.
    pictures: list[NDArray[np.generic]] = [np.maximum(_grey(image), 1e-3)]
    for block in range(blocks):
        share = columns * row.kept[block].shape[1] // row.image.shape[1]
        attention, kept = row.attention[block][:, :share], row.kept[block][:, :share]
        names += [f"attention {block + 1}", f"kept {block + 1}\n{_share(kept)}"]
        # The square root shows weak cells too; a chunk's few strong ones would hide them.
        pictures += [np.sqrt(attention), kept_overlay(image, kept)]
    # Stretched so that the text fits above a short clip too; bins are drawn lower than wide.
    stretch = max(1.0, 260 / columns)
    panel, gap, left, top = 62.0, 5.0, 20.0, 30.0
    wide = columns * stretch
    width, height = left + wide + 14, top + len(names) * (panel + gap) + 22
    figure, axes = _canvas(width, height, scale=58)
    axes.text(left, 6, row.label, ha="left", va="top", fontsize=9, color=INK)
    scale = np.array([stretch, panel / bins, stretch, panel / bins])
    for line, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        y = top + line * (panel + gap)
        heat = None if name.startswith("kept") else ("magma" if line == 0 else HEAT_MAP)
        _put(axes, picture, left, y, (wide, panel), heat, upwards=True)
        axes.text(
            left - 3,
            y + panel / 2,
            name,
            rotation=90,
            ha="right",
            va="center",
            ma="center",
            fontsize=8,
            color=INK,
        )
        edges = left + stretch * np.arange(chunk_columns, columns, chunk_columns)
        axes.vlines(edges, y, y + panel, colors="white", lw=0.5, alpha=0.6)
        if not name.startswith("attention"):
            shown = row.regions[row.regions[:, 0] < columns]
            shown = np.minimum(shown, [columns, bins, columns, bins])
            # Low bins lie at the bottom.
            flipped = np.stack(
                [shown[:, 0], bins - shown[:, 3], shown[:, 2], bins - shown[:, 1]], 1
            )
            _outlines(axes, flipped * scale, left, y)
    if real_columns < columns:
        x = left + stretch * real_columns
        end = top + len(names) * (panel + gap) - gap
        axes.vlines(x, top - 2, end, colors=INK, lw=0.8, linestyles=(0, (4, 3)))
        middle = (x + left + wide) / 2
        axes.text(middle, top - 3, "padding", ha="center", va="bottom", fontsize=7, color=FAINT)
    bottom = top + len(names) * (panel + gap) - gap
    every = 1 if columns * seconds_per_column < 8 else 2
    for second in range(0, int(columns * seconds_per_column) + 1, every):
        x = left + stretch * (second / seconds_per_column + 0.5)
        axes.vlines(x, bottom, bottom + 3, colors=FAINT, lw=0.8)
        label = f"{second} s"
        axes.text(x, bottom + 5, label, ha="center", va="top", fontsize=8, color=INK)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure
