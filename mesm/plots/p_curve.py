"""The paper's Figure 5: performance and computation against p, beside FE2E; latency below."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mesm.config.p import uniform_p
from mesm.plots.style import FAINT, FE2E_COLOUR, INK, MESM_COLOUR, new_figure, tidy
from mesm.runs.scores import is_single_label

METRIC_NAMES = {
    "f1": "Average F1 (%)",
    "accuracy": "Average accuracy (%)",
    "weighted_accuracy": "Average weighted accuracy (%)",
}
# Where every clip has exactly one emotion.
SINGLE_NAMES = {"accuracy": "Accuracy (%)", "macro_f1": "Macro F1 (%)"}


def _line(
    axes: Axes,
    p: Sequence[float],
    values: Sequence[float],
    baseline: float | None,
    trained_p: float | None,
    label: str,
    retrained: tuple[Sequence[float], Sequence[float]] | None = None,
) -> None:
    name = "MESM" if retrained is None else "MESM, one model"
    axes.plot(p, values, color=MESM_COLOUR, marker="o", markersize=4.5, linewidth=1.6, label=name)
    if retrained is not None:
        # Hollow and thin: told apart without colour, too.
        axes.plot(
            *retrained,
            color=MESM_COLOUR,
            marker="D",
            markersize=4.5,
            markerfacecolor="none",
            linewidth=0.9,
            linestyle=(0, (4, 2)),
            label="one model per p",
        )
    if trained_p is not None:
        axes.axvline(trained_p, color=FAINT, linewidth=0.8, linestyle=(0, (2, 3)))
    if baseline is not None:
        axes.axhline(baseline, color=FE2E_COLOUR, linewidth=1.1, linestyle=(0, (5, 3)))
        # FE2E computes every site, so its point stands at p = 1, as in the paper.
        axes.plot([1.0], [baseline], color=FE2E_COLOUR, marker="s", markersize=6, linestyle="none")
    axes.set_ylabel(label, fontsize=9, color=INK)
    tidy(axes)


def draw_p_curve(sweep: Mapping[str, Any], retrained: Mapping[str, Any] | None = None) -> Figure:
    """Draw a sweep (the content of RUN/sweep.json) as one column of panels over p.

    Args:
        sweep: one model at every p.
        retrained: the content of RUN/retrain.json, one model per p: a second curve.

    Panels: the corpus' accuracy, F1, feature-extraction GFLOPs per clip, latency per clip. The
    dotted vertical line is the p of the training where all blocks have the same; the dashed one is
    FE2E.
    """
    points, baseline = sweep["points"], sweep["baseline"]
    p = [point["p"] for point in points]
    trained_p = uniform_p(sweep["trained_p"])
    single = is_single_label(points[0])
    metrics = [sweep["metric"], "macro_f1" if single else "f1"]
    names = SINGLE_NAMES if single else METRIC_NAMES
    figure = new_figure(5.4, 8.6)

    def second(kind: str, name: str, scale: float) -> tuple[list[float], list[float]] | None:
        if retrained is None:
            return None
        others = retrained["points"]
        return [q["p"] for q in others], [scale * q[kind][name] for q in others]

    panels = figure.subplots(len(metrics) + 2, 1, sharex=True)
    for axes, name in zip(panels, metrics, strict=False):
        _line(
            axes,
            p,
            [100 * point["average"][name] for point in points],
            100 * baseline["average"][name] if baseline else None,
            trained_p,
            names[name],
            second("average", name, 100),
        )
    flops, latency = panels[-2], panels[-1]
    _line(
        flops,
        p,
        [point["flops_per_clip"]["total"] / 1e9 for point in points],
        baseline["flops_per_clip"]["total"] / 1e9 if baseline else None,
        trained_p,
        "Feature extraction\n(GFLOPs per clip)",
        second("flops_per_clip", "total", 1e-9),
    )
    (attention,) = flops.plot(
        p,
        [point["flops_per_clip"]["attention"] / 1e9 for point in points],
        color=MESM_COLOUR,
        linewidth=1.0,
        linestyle=(0, (1, 1.5)),
        label="of which attention",
    )
    flops.legend(handles=[attention], frameon=False, fontsize=8, loc="best", handlelength=2.2)
    _line(
        latency,
        p,
        [point["latency_ms_per_clip"]["model"] for point in points],
        baseline["latency_ms_per_clip"]["model"] if baseline else None,
        trained_p,
        "Latency\n(ms per clip)",
        second("latency_ms_per_clip", "model", 1),
    )
    for axes in (flops, latency):
        axes.set_ylim(bottom=0)
    latency.set_xlabel("p: share of the attention mass that is kept", fontsize=9, color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    if baseline:
        (point,) = panels[0].plot(
            [], [], color=FE2E_COLOUR, marker="s", linestyle=(0, (5, 3)), linewidth=1.1
        )
        handles, labels = [*handles, point], [*labels, "FE2E"]
    panels[0].legend(
        handles,
        labels,
        frameon=False,
        fontsize=9,
        ncols=len(labels),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
    )
    return figure
