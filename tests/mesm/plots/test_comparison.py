"""Curves over the first setting show what stands in the table."""

from typing import Any

import pytest

from mesm.plots.comparison import draw_comparison
from mesm.tables.table import Table, row, spread


def table(*rows: tuple[Any, str, float, float | None]) -> Table:
    return Table(
        name="runs",
        title="Runs",
        groups=(("", 6),),
        head=("model.p", "model.selection", "seeds", "Acc", "F1", "GFLOPs"),
        rows=tuple(
            row(
                "mesm",
                p,
                selection,
                2,
                spread([f1, f1], scale=100),
                spread([f1 - 0.1, f1 + 0.1], scale=100),
                spread([flops], 3, 1e-9),
            )
            for p, selection, f1, flops in rows
        ),
    )


def test_a_curve_per_combination_of_the_other_settings():
    figure = draw_comparison(
        table(
            (0.1, "hard", 0.5, 1e9),
            (0.1, "weighted", 0.6, 1e9),
            (0.9, "hard", 0.7, 3e9),
            (0.9, "weighted", 0.8, 3e9),
        )
    )
    assert figure is not None
    accuracy, f1, flops = figure.axes
    legend = accuracy.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["hard", "weighted"]
    hard, weighted = f1.containers
    assert list(hard[0].get_xdata()) == [0.1, 0.9]
    assert list(hard[0].get_ydata()) == pytest.approx([50, 70])
    assert list(weighted[0].get_ydata()) == pytest.approx([60, 80])
    low = hard[2][0].get_segments()[0][:, 1]
    # The deviation of -0.1 and 0.1 is 0.1 * sqrt(2).
    assert low[1] - low[0] == pytest.approx(2 * 14.142, abs=1e-3)
    assert list(flops.containers[0][0].get_ydata()) == pytest.approx([1, 3])


def test_no_panel_for_unknown_flops():
    figure = draw_comparison(table((0.1, "hard", 0.5, None), (0.2, "hard", 0.5, None)))
    assert figure is not None
    assert len(figure.axes) == 2


@pytest.mark.parametrize("first", ["text", [0.1, 0.5, 0.9], True, None])
def test_no_figure_over_what_is_no_number(first):
    assert draw_comparison(table((first, "hard", 0.5, 1e9), (0.2, "hard", 0.5, 1e9))) is None


def test_no_figure_of_single_points():
    assert (
        draw_comparison(
            table((0.1, "hard", 0.5, 1e9), (0.2, "hard", 0.5, 1e9), (0.1, "a", 0.5, 1e9))
        )
        is None
    )


def test_every_score_of_one_emotion_a_clip_has_a_panel():
    rows = tuple(
        row("mesm", p, 2, *(spread([p / part], scale=100) for part in (1, 2, 4, 8)), spread([None]))
        for p in (0.1, 0.9)
    )
    figure = draw_comparison(
        Table(
            name="runs",
            title="Runs",
            groups=(("", 2), ("all clips", 4), ("", 1)),
            head=("model.p", "seeds", "Acc", "UAR", "WF1", "MF1", "GFLOPs"),
            rows=rows,
        )
    )
    assert figure is not None
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["Acc (%)", "UAR (%)", "WF1 (%)", "MF1 (%)"]
    assert list(figure.axes[3].lines[0].get_ydata()) == pytest.approx(
        [100 * 0.1 / 8, 100 * 0.9 / 8]
    )
