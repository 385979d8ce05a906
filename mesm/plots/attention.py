"""What each attention weighs and keeps: over faces (Figure 3) and spectrograms (Figures 4, 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mesm.plots.style import FAINT, INK, new_figure

RED = "#E3170A"
OUTLINE = "#00E5FF"
HEAT_MAP = "inferno"
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


def _blank(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _outline(axes: Axes, regions: NDArray[np.float64]) -> None:
    for x0, y0, x1, y1 in regions:
        # imshow puts a pixel's centre at its index, so its left edge lies half a pixel before it.
        axes.add_patch(
            Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=OUTLINE, lw=1.0)
        )


def _share(kept: NDArray[np.bool_]) -> str:
    return f"{100 * kept.mean():.0f} % kept"


def draw_faces(rows: Sequence[Row], title: str) -> Figure:
    """One line per face: the input, then per block the attention and, in red, what it keeps."""
    blocks = len(rows[0].kept)
    figure = new_figure(1.25 * (1 + 2 * blocks) + 0.5, 1.42 * len(rows) + 0.75)
    grid = figure.subplots(len(rows), 1 + 2 * blocks, squeeze=False)
    figure.suptitle(title, fontsize=10, color=INK)
    for line, row in zip(grid, rows, strict=True):
        for axes in line:
            _blank(axes)
        height, width = row.image.shape[:2]
        line[0].imshow(row.image, interpolation="nearest")
        _outline(line[0], row.regions)
        line[0].set_ylabel(row.label, fontsize=8, color=INK)
        for block in range(blocks):
            heat, kept = line[1 + 2 * block], line[2 + 2 * block]
            heat.imshow(enlarge(row.attention[block], height, width), cmap=HEAT_MAP, vmin=0)
            kept.imshow(kept_overlay(row.image, row.kept[block]), interpolation="nearest")
            _outline(kept, row.regions)
            kept.set_xlabel(_share(row.kept[block]), fontsize=7, color=FAINT, labelpad=2)
    grid[0][0].set_title("input", fontsize=9, color=INK)
    for block in range(blocks):
        grid[0][1 + 2 * block].set_title(f"attention {block + 1}", fontsize=9, color=INK)
        grid[0][2 + 2 * block].set_title(f"kept {block + 1}", fontsize=9, color=INK)
    return figure


def draw_spectrogram(row: Row, chunk_columns: int, seconds_per_column: float) -> Figure:
    """The clip's spectrogram over time, and below it per block the attention and the kept sites.

    Only the first 16 chunks are drawn of a longer clip. Each attention map is one softmax per
    chunk, so brightness compares within a chunk.
    """
    columns = min(row.image.shape[1], MOST_CHUNKS * chunk_columns)
    image = row.image[:, :columns]
    bins = image.shape[0]
    blocks = len(row.kept)
    panels = 1 + 2 * blocks
    figure = new_figure(max(4.2, 1.2 + columns / 52), 1.18 * panels + 0.7)
    lines = figure.subplots(panels, 1, sharex=True)
    figure.suptitle(row.label, fontsize=10, color=INK)
    names = ["input"]
    pictures: list[NDArray[np.generic]] = [_grey(image)]
    for block in range(blocks):
        share = columns * row.kept[block].shape[1] // row.image.shape[1]
        attention, kept = row.attention[block][:, :share], row.kept[block][:, :share]
        names += [f"attention {block + 1}", f"kept {block + 1}\n{_share(kept)}"]
        # The square root shows weak cells too; a chunk's few strong ones would hide them.
        pictures += [np.sqrt(enlarge(attention, bins, columns)), kept_overlay(image, kept)]
    for axes, name, picture in zip(lines, names, pictures, strict=True):
        axes.imshow(
            picture,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="magma" if name == "input" else HEAT_MAP,
            vmin=0,
        )
        axes.set_ylabel(name, fontsize=8, color=INK)
        axes.set_yticks([])
        for edge in range(chunk_columns, columns, chunk_columns):
            axes.axvline(edge - 0.5, color="white", lw=0.5, alpha=0.5)
        if not name.startswith("attention"):
            _outline(axes, row.regions)
        axes.set_xlim(-0.5, columns - 0.5)
        axes.set_ylim(-0.5, bins - 0.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
    second = 1 / seconds_per_column
    ticks = np.arange(0, columns, second if columns < 8 * second else 2 * second)
    lines[-1].set_xticks(ticks - 0.5, [f"{tick * seconds_per_column:.0f}" for tick in ticks])
    lines[-1].tick_params(labelsize=8, colors=INK, length=3)
    lines[-1].set_xlabel("seconds", fontsize=8, color=INK)
    return figure
