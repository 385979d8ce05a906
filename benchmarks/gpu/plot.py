"""The GPU benchmark as a picture like the paper's Figure 5, and each kernel beside its floor."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from benchmarks.shapes import HEADLINE_P
from mesm.plots.style import EXTRA_COLOUR, FE2E_COLOUR, INK, MESM_COLOUR, new_figure, tidy

Row = dict[str, Any]
WHATS = ("block inference", "block training step", "MESM inference", "MESM training step")
COLOURS = {"bfloat16": MESM_COLOUR, "float32": EXTRA_COLOUR}


def draw(rows: list[Row], name: str) -> Figure:
    """GFLOP and milliseconds against p, sparse as lines and the best dense run dashed.

    A column for each kind of step; the three blocks are added up.
    """
    figure = new_figure(11.0, 5.4)
    panels = figure.subplots(2, len(WHATS), sharex=True, squeeze=False)
    for column, what in enumerate(WHATS):
        flops, latency = panels[0][column], panels[1][column]
        for dtype, colour in COLOURS.items():
            points = _sums([row for row in rows if (row["what"], row["dtype"]) == (what, dtype)])
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


def _sums(rows: list[Row]) -> dict[float, dict[str, float]]:
    """Per p, the sums over shapes, where every shape was measured."""
    shapes = {row["shape"] for row in rows}
    found: dict[float, dict[str, float]] = {}
    names = ("flops", "dense_flops", "ms", "rival_ms")
    for p in {row["p"] for row in rows}:
        here = [row for row in rows if row["p"] == p and "ratio" in row]
        if {row["shape"] for row in here} == shapes:
            found[p] = {name: sum(row[name] for row in here) for name in names}
    return found


def floor_table(rows: list[Row]) -> list[str]:
    """Each op and block at the headline p: its floor, the share of it reached, dense's time."""
    heads = ("op", "shape", "dtype", "floor µs", "took µs", "of floor", "dense µs", "ratio")
    lines = [heads]
    for row in rows:
        if "bytes" not in row or "ms" not in row or row["p"] != HEADLINE_P:
            continue
        took, floor = row["ms"] * 1e3, row.get("floor_us")
        lines.append(
            (
                *(row["what"], row["shape"], row["dtype"]),
                "?" if floor is None else f"{floor:.1f}",
                f"{took:.1f}",
                "?" if floor is None else f"{floor / took:.0%}",
                f"{row['rival_ms'] * 1e3:.1f}" if "rival_ms" in row else "",
                f"{row['ratio']:.2f}" if "ratio" in row else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
