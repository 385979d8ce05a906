"""Reliability diagrams: how often an emotion is there, against how probable it was said to be."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from mesm.evaluation.calibration import diagrams
from mesm.plots.style import FAINT, FE2E_COLOUR, INK, MESM_COLOUR, new_figure, save_png, tidy
from mesm.runs.folder import RunFolder

COLUMNS = 3
# Inches: a panel's side, the gaps beside and above it, and the figure's edges.
SIDE, BESIDE, ABOVE, LEFT, BOTTOM, TOP = 1.9, 0.4, 0.5, 0.6, 0.5, 0.1
# Points squared: a mark that stands for all clips, and the least one.
LARGEST, SMALLEST = 240.0, 12.0
# By their keys in the scores; marks and lines differ too, for readers of grey prints.
LOOKS = {
    "reliability": ("as the model gives it", FE2E_COLOUR, "s", (0, (5, 3)), True),
    "reliability_calibrated": ("at the temperature", MESM_COLOUR, "o", "-", False),
}


def draw_reliability(calibration: Mapping[str, Any]) -> Figure:
    """Draw the calibration of a split, a panel per emotion, or one for the most probable one.

    Each mark is a bin: its clips' mean probability and the share of them that has the emotion,
    the larger the more clips. The title has the expected calibration errors. On the dotted
    diagonal a probability is what it says.

    Args:
        calibration: what `mesm.evaluation.calibration.calibration_of` gave, or
            `mesm.evaluation.softmax_calibration.softmax_calibration_of`.
    """
    emotions = diagrams(calibration)
    columns = min(COLUMNS, len(emotions))
    rows = -(-len(emotions) // columns)
    width = max(LEFT + columns * (SIDE + BESIDE), 4.0)
    height = BOTTOM + rows * (SIDE + ABOVE) + TOP
    # A layout that is reckoned here: matplotlib's own takes longer than all the drawing.
    figure = new_figure(width, height, constrained=False)
    for place, (emotion, values) in enumerate(emotions.items()):
        row, column = divmod(place, columns)
        left = LEFT + column * (SIDE + BESIDE)
        bottom = BOTTOM + (rows - 1 - row) * (SIDE + ABOVE)
        axes = figure.add_axes(
            (left / width, bottom / height, SIDE / width, SIDE / height), aspect="equal"
        )
        _panel(axes, emotion, values)
        if column == 0:
            axes.set_ylabel("share that has it", fontsize=9, color=INK)
        if place + columns >= len(emotions):
            axes.set_xlabel("probability", fontsize=9, color=INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(
        handles,
        labels,
        frameon=False,
        fontsize=9,
        ncols=len(labels),
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0),
    )
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([40.0])
    return figure


def save_reliability(run: Path, scores: Mapping[str, Any]) -> Path:
    """Draw the calibration of a split into a run's folder.

    Args:
        run: the folder.
        scores: what `mesm.evaluation.evaluate.evaluate_run` gave.

    Returns:
        The PNG file.
    """
    place = RunFolder(run).reliability(scores["split"])
    return save_png(draw_reliability(scores["calibration"]), place)


def _panel(axes: Axes, emotion: str, values: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (1, 1.5)))
    for key, (label, colour, mark, line, hollow) in LOOKS.items():
        bins: Sequence[Mapping[str, float]] = values.get(key, ())
        if not bins:
            continue
        x, y = [row["probability"] for row in bins], [row["frequency"] for row in bins]
        clips = sum(row["clips"] for row in bins)
        sizes = [max(SMALLEST, LARGEST * row["clips"] / clips) for row in bins]
        axes.plot(x, y, color=colour, linewidth=1.0, linestyle=line)
        axes.scatter(
            x,
            y,
            s=sizes,
            marker=mark,
            facecolors="none" if hollow else colour,
            edgecolors=colour,
            linewidths=1.0,
            alpha=1.0 if hollow else 0.75,
            label=label,
            clip_on=False,
            zorder=3,
        )
    errors = [values[key] for key in ("ece", "ece_calibrated") if key in values]
    shown = " → ".join(f"{100 * error:.1f}" for error in errors)
    axes.set_title(f"{emotion}: ECE {shown} %", fontsize=9, color=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    tidy(axes)
