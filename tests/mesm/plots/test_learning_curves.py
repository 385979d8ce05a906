"""Learning curves show every run's points."""

import pytest

from mesm.plots.learning_curves import draw_learning_curves


def test_two_runs_two_panels_f1_in_percent() -> None:
    curves = {
        "FE2E": [{"loss": [(1, 0.9), (2, 0.5)], "f1": [(1, 0.3), (2, 0.6)]}],
        "MESM": [{"loss": [(1, 1.0)], "f1": [(1, 0.2)]}],
    }
    loss, f1 = draw_learning_curves(curves, "average F1").axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[0.9, 0.5], [1.0]]
    assert f1.get_ylabel() == "Validation average F1 (%)"
    assert list(f1.lines[0].get_ydata()) == pytest.approx([30, 60])
    legend = loss.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["FE2E", "MESM"]


def test_folds_have_one_colour_and_one_name() -> None:
    folds = [{"loss": [(1, 0.9)], "f1": [(1, 0.3)]}, {"loss": [(1, 0.8)], "f1": [(1, 0.4)]}]
    loss, f1 = draw_learning_curves({"FE2E": folds, "MESM": folds[:1]}, "macro F1").axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[0.9], [0.8], [0.9]]
    first, second, other = (line.get_color() for line in f1.lines)
    assert first == second != other
    legend = loss.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["FE2E", "MESM"]
