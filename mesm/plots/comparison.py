"""Runs compared by settings, as curves over the first one: mean and deviation over the seeds."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mesm.plots.style import EXTRA_COLOUR, FE2E_COLOUR, INK, MESM_COLOUR, new_figure, tidy
from mesm.tables.notes import ALL_CLIPS
from mesm.tables.table import Row, Table

# Marks and lines differ too, for readers of grey prints.
LOOKS = (
    (MESM_COLOUR, "o", "-"),
    (FE2E_COLOUR, "s", (0, (5, 3))),
    (EXTRA_COLOUR, "D", (0, (1, 1.5))),
    (INK, "^", (0, (3, 1, 1, 1))),
)


def draw_comparison(table: Table) -> Figure | None:
    """Draw a table of `mesm.tables.comparison`; None if its first setting is not a number.

    None, too, where a curve would be a single point.

    One panel per score, and one for the FLOPs where they are known; one curve per combination of
    the other settings, with a bar of one deviation either way.
    """
    # `mesm table runs` has settings, seeds, scores, perhaps those over folds, and FLOPs.
    settings = table.head.index("seeds")
    together = ALL_CLIPS in dict(table.groups)
    # Those over folds repeat the titles of the first.
    scores = 1 + settings, 1 + settings + len(set(table.head[settings + 1 : -1]))
    curves: dict[str, list[Row]] = {}
    for row in table.rows:
        if not _is_number(row.cells[0].value):
            return None
        curves.setdefault(", ".join(map(str, row.cells[1:settings])), []).append(row)
    if min(len(rows) for rows in curves.values()) < 2:
        return None
    panels = [
        (place, scale, label)
        for place, scale, label in (
            *(
                (place, 100.0, f"{'' if together else 'Average '}{table.head[place]} (%)")
                for place in range(*scores)
            ),
            (len(table.head) - 1, 1e-9, "Feature extraction\n(GFLOPs per clip)"),
        )
        if any(row.cells[place].value is not None for row in table.rows)
    ]
    figure = new_figure(5.4, 0.6 + 2.1 * len(panels))
    axes_of = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (place, scale, label) in zip(axes_of, panels, strict=True):
        for (name, rows), look in zip(curves.items(), cycle(LOOKS), strict=False):
            _curve(axes, rows, place, scale, name, look)
        axes.set_ylabel(label, fontsize=9, color=INK)
        tidy(axes)
    axes_of[-1].set_xlabel(table.head[0].rpartition(".")[2], fontsize=9, color=INK)
    if settings > 1:
        named = ", ".join(head.rpartition(".")[2] for head in table.head[1:settings])
        axes_of[0].legend(
            title=named,
            frameon=False,
            fontsize=9,
            title_fontsize=9,
            ncols=len(curves),
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
        )
    return figure


def _curve(
    axes: Axes, rows: Sequence[Row], place: int, scale: float, name: str, look: tuple[Any, ...]
) -> None:
    colour, marker, line = look
    known = [row for row in rows if row.cells[place].value is not None]
    figures = [row.cells[place].value for row in known]
    axes.errorbar(
        [row.cells[0].value for row in known],
        [scale * one["mean"] for one in figures],
        yerr=[scale * (one["deviation"] or 0.0) for one in figures],
        color=colour,
        marker=marker,
        linestyle=line,
        markersize=4.5,
        linewidth=1.5,
        elinewidth=0.9,
        capsize=2.5,
        label=name,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
