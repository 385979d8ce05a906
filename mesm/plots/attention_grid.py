"""The sites that attention keeps, one line per emotion: Figures 3 (faces), 4 and 6 (sound)."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mesm.plots.panels import (
    Row,
    canvas,
    enlarge,
    kept_overlay,
    kept_share,
    outline,
    put_image,
    to_grey,
)
from mesm.plots.style import FAINT, INK

# A page's text is about this wide, so letters are read at the size they have here.
PAGE_INCHES = 7.2
GAP = 4.0


def surviving(row: Row) -> NDArray[np.bool_]:
    """The (H, W) pixels whose sites every block kept."""
    height, width = row.image.shape[:2]
    kept = np.ones((height, width), dtype=bool)
    for block in row.kept:
        kept &= enlarge(block, height, width).astype(bool)
    return kept


def loudest(image: NDArray[np.generic], share: float) -> NDArray[np.float32]:
    """A spectrogram with all but its highest values at one level, as in Figure 4; NaN stays.

    Args:
        image: (mel bins, columns).
        share: of the values that stay.
    """
    values = image.astype(np.float32)
    return np.maximum(values, np.nanquantile(values, 1 - share))


def draw_grid(
    rows: Sequence[Row],
    title: str,
    columns: Sequence[int] | None = None,
    note: str = "",
) -> Figure:
    """One line per row: the input, what each block keeps in red, and the pixels that all kept.

    Args:
        rows: faces, or spectrograms with low bins first, all with the same blocks and height.
        title: above all.
        columns: how many of each row's pixel columns are drawn; None: all of them.
        note: a line below all.
    """
    blocks = len(rows[0].kept)
    shown = list(columns) if columns is not None else [row.image.shape[1] for row in rows]
    panel_width, panel_height = max(shown), rows[0].image.shape[0]
    panels = blocks + 2
    # In pixels of the input; what letters need is fixed in inches, and so depends on the scale.
    scale = panels * (panel_width + GAP) / (PAGE_INCHES - 0.5)
    left, top, below = 0.42 * scale, 0.62 * scale, 0.19 * scale
    width = left + panels * (panel_width + GAP) + 0.08 * scale
    height = top + len(rows) * (panel_height + below) + (0.2 * scale if note else 0)
    figure, axes = canvas(width, height, scale)
    axes.text(width / 2, 0.1 * scale, title, ha="center", va="top", fontsize=10, color=INK)
    heads = ["input", *(f"kept by block {block}" for block in range(1, blocks + 1)), "kept by all"]
    for place, head in enumerate(heads):
        x = left + place * (panel_width + GAP) + panel_width / 2
        axes.text(x, top - 0.05 * scale, head, ha="center", va="bottom", fontsize=9, color=INK)
    for line, (row, part) in enumerate(zip(rows, shown, strict=True)):
        y = top + line * (panel_height + below)
        axes.text(
            left - 0.06 * scale,
            y + panel_height / 2,
            row.label,
            rotation=90,
            ha="right",
            va="center",
            ma="center",
            fontsize=9,
            color=INK,
        )
        kept = [enlarge(block, panel_height, row.image.shape[1]).astype(bool) for block in row.kept]
        kept.append(surviving(row))
        for place in range(panels):
            x = left + place * (panel_width + GAP)
            _draw_panel(axes, row, None if place == 0 else kept[place - 1], part, (x, y))
            if place:
                axes.text(
                    x + part / 2,
                    y + panel_height + 0.02 * scale,
                    kept_share(kept[place - 1][:, :part]),
                    ha="center",
                    va="top",
                    fontsize=7.5,
                    color=FAINT,
                )
    if note:
        axes.text(left, height - 0.06 * scale, note, va="bottom", fontsize=8, color=FAINT)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure


def _draw_panel(
    axes: Axes,
    row: Row,
    kept: NDArray[np.bool_] | None,
    columns: int,
    corner: tuple[float, float],
) -> None:
    """The input (kept None), or the kept cells over it; only the first columns."""
    image, (x, y) = row.image, corner
    sound = image.ndim == 2
    height = image.shape[0]
    if kept is not None:
        picture: NDArray[np.generic] = kept_overlay(image, kept)
    elif sound:
        picture = colormaps["magma"](to_grey(image))[:, :, :3]
    else:
        picture = image
    put_image(axes, picture[:, :columns], x, y, (columns, height), upwards=sound)
    regions = np.minimum(row.regions, [columns, height, columns, height])
    regions = regions[regions[:, 2] > regions[:, 0]]
    if sound:
        # Low bins lie at the bottom.
        regions = np.stack(
            [regions[:, 0], height - regions[:, 3], regions[:, 2], height - regions[:, 1]], 1
        )
    outline(axes, regions, x, y)
