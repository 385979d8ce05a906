"""The p-curve shows the figures it is given."""

from typing import Any

import pytest

from mesm.plots.p_curve import draw_p_curve


def measured(p: float) -> dict[str, Any]:
    return {
        "p": p,
        "average": {"accuracy": 0.8, "weighted_accuracy": 0.7, "f1": 0.5 + p / 10},
        "flops_per_clip": {"total": 1e9 * (1 + p), "attention": 1e7},
        "latency_ms_per_clip": {"model": 10 + p},
    }


@pytest.mark.parametrize("metric", ["accuracy", "weighted_accuracy"])
@pytest.mark.parametrize("with_baseline", [True, False])
def test_panels(metric: str, with_baseline: bool) -> None:
    sweep = {
        "points": [measured(p) for p in (0.1, 0.5, 1.0)],
        "baseline": measured(0.9) if with_baseline else None,
        "trained_p": 0.5,
        "metric": metric,
    }
    panels = draw_p_curve(sweep).axes
    assert len(panels) == 4
    expected = [
        [70.0] * 3 if metric == "weighted_accuracy" else [80.0] * 3,
        [51.0, 55.0, 60.0],
        [1.1, 1.5, 2.0],
        [10.1, 10.5, 11.0],
    ]
    for panel, values in zip(panels, expected, strict=True):
        line = panel.lines[0]
        assert list(line.get_xdata()) == [0.1, 0.5, 1.0]
        assert list(line.get_ydata()) == pytest.approx(values)
    dashed = [line for line in panels[2].lines if list(line.get_ydata()) == pytest.approx([1.9])]
    assert len(dashed) == int(with_baseline)
    assert panels[2].get_ylim()[0] == 0


def test_one_model_per_p_is_a_second_curve() -> None:
    points = [measured(p) for p in (0.1, 0.5, 1.0)]
    sweep = {"points": points, "baseline": measured(0.9), "trained_p": 0.5, "metric": "accuracy"}
    figure = draw_p_curve(sweep, {"points": [measured(0.3), measured(0.6)]})
    expected = [[80.0, 80.0], [53.0, 56.0], [1.3, 1.6], [10.3, 10.6]]
    for panel, values in zip(figure.axes, expected, strict=True):
        (line,) = [line for line in panel.lines if line.get_label() == "one model per p"]
        assert list(line.get_xdata()) == [0.3, 0.6]
        assert list(line.get_ydata()) == pytest.approx(values)
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        *("MESM, one model", "one model per p", "FE2E")
    ]


@pytest.mark.parametrize(("trained", "lines"), [(0.5, 2), ([0.5, 0.5, 0.5], 2), ([0.7, 0.5, 1], 1)])
def test_a_p_per_block_has_no_place_on_the_axis(trained: Any, lines: int) -> None:
    points = [measured(p) for p in (0.1, 0.5, 1.0)]
    sweep = {"points": points, "baseline": None, "trained_p": trained, "metric": "accuracy"}
    assert len(draw_p_curve(sweep).axes[0].lines) == lines


def test_one_emotion_a_clip_shows_its_macro_f1() -> None:
    points = []
    for p in (0.1, 1.0):
        average = {"accuracy": 0.6, "weighted_f1": 0.9, "macro_f1": p / 2, "uar": 0.9}
        points.append(measured(p) | {"task": "single_label", "average": average})
    sweep = {"points": points, "baseline": points[1], "trained_p": 0.5, "metric": "accuracy"}
    accuracy, f1, *_ = draw_p_curve(sweep).axes
    assert (accuracy.get_ylabel(), f1.get_ylabel()) == ("Accuracy (%)", "Macro F1 (%)")
    assert list(f1.lines[0].get_ydata()) == pytest.approx([5.0, 50.0])
