"""Loss and validation F1 of one or more runs over their epochs."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from mesm.plots.style import EXTRA_COLOUR, FE2E_COLOUR, INK, MESM_COLOUR, new_figure, tidy

COLOURS = (FE2E_COLOUR, MESM_COLOUR, EXTRA_COLOUR, "#CC79A7", "#56B4E9", "#E69F00")


# "loss" and "f1", each a list of (epoch, value); F1 in 0–1.
Training = Mapping[str, Sequence[tuple[float, float]]]


def draw_learning_curves(curves: Mapping[str, Sequence[Training]], title: str) -> Figure:
    """Draw training loss (left) and validation F1 in percent (right).

    Args:
        curves: per name its trainings, one or a training's folds, which have one colour.
        title: which F1 it is, e.g. "macro F1".
    """
    figure = new_figure(8.4, 3.0)
    loss, f1 = figure.subplots(1, 2)
    for (name, trainings), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
        for place, series in enumerate(trainings):
            for axes, key, scale in ((loss, "loss", 1.0), (f1, "f1", 100.0)):
                points = series.get(key, ())
                axes.plot(
                    [epoch for epoch, _ in points],
                    [scale * value for _, value in points],
                    color=colour,
                    linewidth=1.6 if len(trainings) == 1 else 0.9,
                    marker="o",
                    markersize=3 if len(trainings) == 1 else 2,
                    label=None if place else name,
                )
    for axes, label in ((loss, "Training loss"), (f1, f"Validation {title} (%)")):
        axes.set_ylabel(label, fontsize=9, color=INK)
        axes.set_xlabel("Epoch", fontsize=9, color=INK)
        tidy(axes)
    loss.legend(frameon=False, fontsize=8)
    return figure


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
