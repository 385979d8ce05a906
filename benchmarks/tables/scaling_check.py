"""Real runs of `mesm prepare` beside the simulation of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.report import markdown
from benchmarks.tables.amounts import RATES
from benchmarks.tables.registry import results, table

CHECK = "scaling-check"


@table("scaling-pool")
def pool() -> str:
    """How many empty units the pool of processes hands out."""
    found = results(RATES)["pool"]
    return (
        f"{1 / found['head_cpu_s']:,.0f} units a second of the head's processor time, "
        f"{found['units_per_second']:,.0f} on the clock"
    )


@table("scaling-check")
def check() -> str:
    """Real runs beside the simulation's, medians per number of workers."""
    runs = results(CHECK)["runs"]
    lines = []
    for workers in sorted({run["workers"] for run in runs}):
        own = [run for run in runs if run["workers"] == workers]
        cells = []
        for real, predicted in (("idle_s", "predicted_idle_s"), ("wall_s", "predicted_s")):
            errors = [run[predicted] / run[real] - 1 for run in own]
            cells += [
                f"{median(run[real] for run in own):.1f}",
                f"{median(run[predicted] for run in own):.1f}",
                f"{100 * median(errors):+.0f} % ({_signed(errors)})",
            ]
        others = [run["others_cores"] for run in own]
        lines.append((str(workers), str(len(own)), *cells, f"{median(others):.1f}"))
    head = (
        *("workers", "runs", "idle, s", "simulated", "error", "clock, s", "simulated", "error"),
        "cores that others used",
    )
    return markdown(head, lines)


@table("scaling-check-machine")
def machine() -> str:
    """Where the check ran."""
    found = results(CHECK)
    load = [run["load"] for run in found["runs"]]
    where = found["machine"]
    return (
        f"{where['cpu']}, {where['cores']} cores, {found['clips']} clips in "
        f"{len(found['units'])} units, load {min(load):.0f} to {max(load):.0f}"
    )


def _signed(errors: Sequence[float]) -> str:
    return f"{100 * min(errors):+.0f} to {100 * max(errors):+.0f}"
