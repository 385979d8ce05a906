"""Reliability diagrams show the bins they are given."""

from typing import Any

import pytest

from mesm.plots.reliability import LARGEST, SMALLEST, draw_reliability
from mesm.plots.style import png_bytes

BEFORE = [
    {"bin": 2, "clips": 1, "probability": 0.18, "frequency": 0.0},
    {"bin": 13, "clips": 99, "probability": 0.9, "frequency": 0.5},
]
AFTER = [{"bin": 8, "clips": 100, "probability": 0.55, "frequency": 0.52}]


def measured(names: list[str], fitted: bool = True) -> dict[str, Any]:
    values: dict[str, Any] = {"ece": 0.4, "reliability": BEFORE}
    if fitted:
        values |= {"ece_calibrated": 0.03, "reliability_calibrated": AFTER, "temperature": 2.0}
    return {"bins": 15, "emotions": dict.fromkeys(names, values), "average": {"ece": 0.4}}


@pytest.mark.parametrize("count", [1, 3, 4, 6])
@pytest.mark.parametrize("fitted", [True, False])
def test_a_panel_per_emotion_with_its_bins(count: int, fitted: bool) -> None:
    names = [f"emotion {place}" for place in range(count)]
    figure = draw_reliability(measured(names, fitted))
    assert len(figure.axes) == count
    wanted = [BEFORE, AFTER] if fitted else [BEFORE]
    for name, axes in zip(names, figure.axes, strict=True):
        end = " → 3.0 %" if fitted else " %"
        assert axes.get_title() == f"{name}: ECE 40.0{end}"
        diagonal, *lines = axes.lines
        assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
        for line, marks, bins in zip(lines, axes.collections, wanted, strict=True):
            places = [(row["probability"], row["frequency"]) for row in bins]
            assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == places
            assert [tuple(place) for place in marks.get_offsets()] == places
    first = figure.axes[0].collections[0]
    assert list(first.get_sizes()) == [SMALLEST, LARGEST * 0.99]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "as the model gives it",
        "at the temperature",
    ][: len(wanted)]


def test_panels_and_labels_stay_inside_the_figure() -> None:
    figure = draw_reliability(measured(["frustrated", *(f"emotion {i}" for i in range(4))]))
    png_bytes(figure)
    whole = figure.bbox
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box is not None
        assert box.x0 >= whole.x0
        assert box.x1 <= whole.x1
        assert box.y0 >= whole.y0
        assert box.y1 <= whole.y1
    left, right = figure.axes[0].get_tightbbox(), figure.axes[1].get_tightbbox()
    assert left is not None
    assert right is not None
    assert left.x1 < right.x0


def test_figures_made_alike_give_the_same_bytes() -> None:
    one, other = (png_bytes(draw_reliability(measured(["sad", "happy"]))) for _ in range(2))
    assert one == other


def test_the_most_probable_emotion_has_one_panel() -> None:
    bins = [{"bin": 9, "clips": 4, "probability": 0.65, "frequency": 0.5}]
    top = {"ece": 0.15, "reliability": bins}
    (axes,) = draw_reliability({"bins": 15, "top": top}).axes
    assert axes.get_title() == "most probable emotion: ECE 15.0 %"
    assert axes.collections[0].get_offsets().tolist() == [[0.65, 0.5]]
