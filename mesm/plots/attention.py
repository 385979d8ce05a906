"""The attention and the kept sites of one clip, over its faces and over its spectrogram."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mesm.plots.panels import (
    Row,
    canvas,
    enlarge,
    hatch,
    kept_overlay,
    kept_share,
    outline,
    put_image,
    to_grey,
)
from mesm.plots.style import FAINT, INK

HEAT_MAP = "inferno"
MOST_CHUNKS = 16


def draw_faces(rows: Sequence[Row], title: str) -> Figure:
    """One line per face: the input, then per block the attention and, in red, what it keeps."""
    blocks = len(rows[0].kept)
    side = rows[0].image.shape[0]
    step_x, step_y, left = side + 5, side + 9, 17
    top = 15 + 6 * len(title.splitlines())
    width, height = left + (1 + 2 * blocks) * step_x, top + len(rows) * step_y + 2
    figure, axes = canvas(width, height, scale=39)
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
        put_image(axes, row.image, left, y, (side, side))
        outline(axes, row.regions, left, y)
        for block in range(blocks):
            x = left + (1 + 2 * block) * step_x
            put_image(axes, row.attention[block], x, y, (side, side), HEAT_MAP)
            x += step_x
            put_image(axes, kept_overlay(row.image, row.kept[block]), x, y, (side, side))
            outline(axes, row.regions, x, y)
            share = kept_share(row.kept[block])
            axes.text(
                x + side / 2, y + side + 1.5, share, ha="center", va="top", fontsize=7, color=FAINT
            )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure


def draw_spectrogram(row: Row, chunk_columns: int, seconds_per_column: float) -> Figure:
    """The clip's spectrogram over time, and below it per block the attention and the kept sites.

    Only the first 16 chunks are drawn of a longer clip. Each attention map is one softmax per
    chunk, so brightness compares within a chunk. Padding is hatched in every panel, and is left out
    of the shares that are kept.
    """
    columns = min(row.image.shape[1], MOST_CHUNKS * chunk_columns)
    image = row.image[:, :columns]
    bins = image.shape[0]
    real = int(np.isfinite(image).all(0).sum())
    blocks = len(row.kept)
    names = ["input"]
    # Silence is dark, not absent.
    pictures: list[NDArray[np.generic]] = [np.maximum(to_grey(image), 1e-3)]
    for block in range(blocks):
        share = columns * row.kept[block].shape[1] // row.image.shape[1]
        attention, kept = row.attention[block][:, :share], row.kept[block][:, :share]
        of_sound = kept_share(enlarge(kept, bins, columns)[:, :real].astype(bool))
        names += [f"attention {block + 1}", f"kept {block + 1}\n{of_sound}"]
        # The square root shows weak cells too; a chunk's few strong ones would hide them.
        pictures += [np.sqrt(attention), kept_overlay(image, kept)]
    # Stretched so that the text fits above a short clip too; bins are drawn lower than wide.
    stretch = max(1.0, 260 / columns)
    panel, gap, left, top = 62.0, 5.0, 20.0, 30.0
    wide = columns * stretch
    below = 34 if real < columns else 22
    width, height = left + wide + 14, top + len(names) * (panel + gap) + below
    figure, axes = canvas(width, height, scale=58)
    axes.text(left, 6, row.label, ha="left", va="top", fontsize=9, color=INK)
    scale = np.array([stretch, panel / bins, stretch, panel / bins])
    for line, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        y = top + line * (panel + gap)
        heat = None if name.startswith("kept") else ("magma" if line == 0 else HEAT_MAP)
        # Against itself all of a silent clip would be at its brightest.
        brightest = 1.0 if line == 0 else None
        put_image(axes, picture, left, y, (wide, panel), heat, upwards=True, brightest=brightest)
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
            outline(axes, flipped * scale, left, y)
        if real < columns:
            hatch(axes, left + stretch * real, y, (stretch * (columns - real), panel))
    bottom = top + len(names) * (panel + gap) - gap
    every = 1 if columns * seconds_per_column < 8 else 2
    for second in range(0, int(columns * seconds_per_column) + 1, every):
        x = left + stretch * (second / seconds_per_column + 0.5)
        axes.vlines(x, bottom, bottom + 3, colors=FAINT, lw=0.8)
        label = f"{second} s"
        axes.text(x, bottom + 5, label, ha="center", va="top", fontsize=8, color=INK)
    if real < columns:
        note = f"Hatched: padding of the last chunk ({seconds_per_column * chunk_columns:g} s); no "
        note += "sound, and not in the shares kept."
        axes.text(left, bottom + 19, note, va="top", fontsize=7, color=FAINT)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure
