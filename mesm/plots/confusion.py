"""The confusion matrix: which emotion was decided for, of the clips that have each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mesm.plots.style import FAINT, FE2E_COLOUR, INK, new_figure, save_png
from mesm.runs.folder import RunFolder

# Inches: a cell's side, a letter of a name, an axis's title with its gaps, and the other edges.
CELL, LETTER, TITLE, EDGE = 0.62, 0.085, 0.4, 0.15
# Beyond this share of a row its cell is dark, and its figures are white.
DARK = 0.65
COLOURS = LinearSegmentedColormap.from_list("confusion", ["white", FE2E_COLOUR])


def draw_confusion(confusion: Sequence[Sequence[int]], emotions: Sequence[str]) -> Figure:
    """Draw the clips that have an emotion as a row, by the emotion that was decided for.

    Each cell has its share of the row in percent, which is also its colour, and below it the
    number of clips. The diagonal is right; a row without clips is empty.

    Args:
        confusion: E rows of E numbers of clips, as `mesm.evaluation.single_label.score_single`
            gives.
        emotions: E names.
    """
    counts = np.array(confusion, dtype=np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    side = CELL * len(emotions)
    rows = [f"{name} ({n})" for name, n in zip(emotions, totals[:, 0], strict=True)]
    left = TITLE + LETTER * max(map(len, rows))
    bottom = TITLE + LETTER * max(map(len, emotions)) / 2**0.5  # the names are aslant
    width, height = left + side + EDGE, bottom + side + EDGE
    # A layout that is reckoned here: matplotlib's own takes longer than all the drawing.
    figure = new_figure(width, height, constrained=False)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.imshow(shares, cmap=COLOURS, vmin=0, vmax=1, aspect="equal")
    for row, column in np.ndindex(counts.shape):
        if totals[row, 0]:
            share, clips = shares[row, column], counts[row, column]
            axes.text(
                *(column, row, f"{100 * share:.0f} %\n{clips}"),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share > DARK else INK,
            )
    _frame(axes, emotions, rows)
    return figure


def save_confusion(run: Path, scores: Mapping[str, Any]) -> Path:
    """Draw the confusion matrix of a split into a run's folder.

    Args:
        run: the folder.
        scores: what `mesm.evaluation.evaluate.evaluate_run` gave, of one emotion a clip.

    Returns:
        The PNG file.
    """
    figure = draw_confusion(scores["confusion"], list(scores["emotions"]))
    return save_png(figure, RunFolder(run).confusion(scores["split"]))


def _frame(axes: Axes, emotions: Sequence[str], rows: Sequence[str]) -> None:
    places = range(len(emotions))
    axes.set_xticks(places, emotions, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, rows)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.spines[:].set_color(FAINT)
    for place in places[1:]:
        axes.axhline(place - 0.5, color="white", linewidth=1.0)
        axes.axvline(place - 0.5, color="white", linewidth=1.0)
    axes.set_xlabel("decided for", fontsize=9, color=INK)
    axes.set_ylabel("clips that have", fontsize=9, color=INK)
