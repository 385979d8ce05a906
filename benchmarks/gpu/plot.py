"""The GPU benchmark as a picture like the paper's Figure 5."""

from __future__ import annotations

from matplotlib.figure import Figure

from benchmarks.gpu.row import Facts
from mesm.plots.style import EXTRA_COLOUR, FE2E_COLOUR, INK, MESM_COLOUR, new_figure, tidy

WHATS = ("block inference", "block training step", "MESM inference", "MESM training step")
COLOURS = {"bfloat16": MESM_COLOUR, "float32": EXTRA_COLOUR}


def draw(rows: list[Facts], name: str) -> Figure:
    """GFLOP and milliseconds against p, sparse as lines and the best dense run dashed.

    A column for each kind of step; the three blocks are added up.
    """
    compared = [row for row in rows if "ratio" in row and row["p"] is not None]
    figure = new_figure(11.0, 5.4)
    panels = figure.subplots(2, len(WHATS), sharex=True, squeeze=False)
    for column, what in enumerate(WHATS):
        flops, latency = panels[0][column], panels[1][column]
        for dtype, colour in COLOURS.items():
            points = _sums(
                [row for row in compared if (row["what"], row["dtype"]) == (what, dtype)]
            )
            p = sorted(points)
            if not p:
                continue
            style = {"color": colour, "marker": "o", "markersize": 3.5, "linewidth": 1.4}
            flops.plot(p, [points[x]["flops"] / 1e9 for x in p], **style)
            latency.plot(p, [points[x]["ms"] for x in p], label=f"sparse, {dtype}", **style)
            dashes = {"color": colour, "linewidth": 1.0, "linestyle": (0, (5, 3))}
            dense = [points[x]["rival_ms"] for x in p]
            latency.plot(p, dense, label=f"best dense, {dtype}", **dashes)
            flops.axhline(points[p[0]]["dense_flops"] / 1e9, color=FE2E_COLOUR, linewidth=1.0)
        flops.set_title(what, fontsize=9, color=INK)
        latency.set_xlabel("p", fontsize=9, color=INK)
        for axes in (flops, latency):
            tidy(axes)
            axes.set_ylim(bottom=0)
    panels[0][0].set_ylabel("GFLOP (line: dense)", fontsize=9, color=INK)
    panels[1][0].set_ylabel("Latency (ms)", fontsize=9, color=INK)
    handles, labels = panels[1][0].get_legend_handles_labels()
    if handles:
        panels[1][0].legend(handles, labels, frameon=False, fontsize=7)
    figure.suptitle(name, fontsize=10, color=INK)
    return figure


def _sums(rows: list[Facts]) -> dict[float, dict[str, float]]:
    """Per p, sums over the shapes with the most p; only for p at which all these were measured."""
    at: dict[str, set[float]] = {}
    for row in rows:
        at.setdefault(row["shape"], set()).add(row["p"])
    most = max(map(len, at.values()), default=0)
    shapes = {shape for shape, found in at.items() if len(found) == most}
    names = ("flops", "dense_flops", "ms", "rival_ms")
    sums: dict[float, dict[str, float]] = {}
    for p in {row["p"] for row in rows}:
        here = [row for row in rows if row["p"] == p and row["shape"] in shapes]
        if {row["shape"] for row in here} == shapes:
            sums[p] = {name: sum(row[name] for row in here) for name in names}
    return sums
