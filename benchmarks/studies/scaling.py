"""Simulates preparing 1,000 hours of video on 10, 100 and 1,000 machines (docs/scaling.md).

Begins with what `scaling_rates` measured. Everything else is assumed, stands in
`Assumed`, and is written beside the outcomes; several assumptions are varied.

    python -m benchmarks.studies.scaling                # three minutes on one idle core
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.environment import ROOT, environment
from benchmarks.report import write_json
from benchmarks.scaling.cluster import Cluster, Outcome, Unit
from benchmarks.scaling.preparing import (
    Assumed,
    Measured,
    cluster_of,
    files_of,
    prepared,
    terms,
    units_of,
)
from benchmarks.scaling.simulator import simulate
from benchmarks.scaling.work import quantiles
from benchmarks.studies.predict_speed import ALBERT
from mesm.experiment.grid import load_experiment
from mesm.experiment.plan import expand
from mesm.models import MESM
from mesm.plots.style import (
    EXTRA_COLOUR,
    FAINT,
    FE2E_COLOUR,
    INK,
    MESM_COLOUR,
    new_figure,
    save_png,
    tidy,
)

FOLDER = ROOT / "benchmarks/results"
RESULTS = FOLDER / "scaling.json"
PICTURE = ROOT / "docs/assets/scaling.png"
NODES = (10, 100, 1000)
SEEDS = 20
GRID = "paper_iemocap"
GPUS = (1, 8, 16, 32, 64)
# Per size, how many machines: small units are many, and few machines say nothing new of them.
SIZES = (2.0, 5.0, 15.0, 60.0)
SIZED_NODES = (100, 1000)
CALM, PLAIN, TWICE = "nothing fails", "as assumed", "slow units twice"
ALONE = "one process writes the files"


def summed(runs: Sequence[Outcome], cluster: Cluster) -> dict[str, Any]:
    """Means of the runs, and for time and efficiency the interval of nine in ten."""
    found: dict[str, Any] = {
        name: fmean(getattr(run, name) for run in runs) for name in asdict(runs[0])
    }
    paid = [run.seconds * cluster.nodes * cluster.cores / 3600 for run in runs]
    found |= {
        "runs": len(runs),
        "core_hours": fmean(paid),
        "seconds_90": quantiles([run.seconds for run in runs]),
        "efficiency_90": quantiles([run.efficiency for run in runs]),
        "tail": fmean(run.done - run.drained for run in runs),
    }
    return found


@dataclass(frozen=True)
class Scenario:
    """Something that is simulated.

    Attributes:
        name: of the row.
        cluster: the machines.
        assumed: with what is other than elsewhere.
        sigma: of the lognormal factor on lengths of units.
        main: whether it runs with every seed; a variant runs with a quarter of them.
        alone: whether the head writes the files.
    """

    name: str
    cluster: Cluster
    assumed: Assumed
    sigma: float = 0.0
    main: bool = False
    alone: bool = False


def scenarios(measured: Measured, assumed: Assumed) -> list[Scenario]:
    """All that is simulated, main scenarios first."""
    rows = []
    for nodes in NODES:
        cluster = cluster_of(nodes, measured, assumed)
        calm = replace(cluster, slow_share=0.0, node_mtbf=inf, worker_mtbf=inf)
        several = replace(cluster, copies=assumed.copies)
        rows += [
            Scenario(CALM, calm, assumed, main=True),
            Scenario(PLAIN, cluster, assumed, main=True),
            Scenario(TWICE, several, assumed, main=True),
            Scenario(ALONE, several, assumed, main=True, alone=True),
        ]
    variants = [
        *((f"{minutes:g} min", replace(assumed, minutes=minutes), 0.0) for minutes in SIZES),
        ("lengths more uneven", assumed, 1.0),
        ("storage 1 GB/s", replace(assumed, storage=1e9), 0.0),
        ("storage 25 GB/s", replace(assumed, storage=25e9), 0.0),
        ("head 60 units/s", replace(assumed, head_tasks=60.0), 0.0),
        ("machines fail every 2 h", replace(assumed, node_mtbf_h=2.0), 0.0),
    ]
    for name, other, sigma in variants:
        for nodes in SIZED_NODES:
            cluster = replace(cluster_of(nodes, measured, other), copies=other.copies)
            rows.append(Scenario(name, cluster, other, sigma))
    return rows


def run_all(measured: Measured, assumed: Assumed, seeds: int) -> list[dict[str, Any]]:
    """Simulate every scenario with its seeds."""
    rows, todo = [], scenarios(measured, assumed)
    counts = [seeds if one.main else max(1, seeds // 4) for one in todo]
    with tqdm(total=sum(counts), desc="simulating", unit="run") as bar:
        for one, count in zip(todo, counts, strict=True):
            runs, files = [], files_of(measured, one.assumed)
            for seed in range(count):
                units = units_of(measured, one.assumed, seed, one.sigma)
                runs.append(prepared(units, files, one.cluster, seed, one.alone))
                bar.update()
            rows.append(
                {
                    "name": one.name,
                    "nodes": one.cluster.nodes,
                    "units": len(units),
                    "terms": terms(units, files, one.cluster, one.alone),
                    **summed(runs, one.cluster),
                }
            )
    return rows


def grid(epoch_s: float, assumed: Assumed, seeds: int) -> dict[str, Any]:
    """The paper's grid as units of `mesm experiment`, a training per GPU, kept epoch by epoch.

    Args:
        epoch_s: of one training on one GPU.
        assumed: the machines.
        seeds: runs.
    """
    cells = expand(load_experiment(GRID))
    epochs = cells[0].config.training.epochs
    units = [Unit(1.0, epochs * epoch_s)] * len(cells)
    rows = []
    for gpus in GPUS:
        nodes, each = max(1, gpus // assumed.gpus), min(gpus, assumed.gpus)
        cluster = Cluster(
            *(nodes, each),
            node_mtbf=3600 * assumed.node_mtbf_h,
            detect=assumed.detect,
            restart=assumed.restart,
            checkpoint=epoch_s,
        )
        runs = [simulate(units, cluster, seed) for seed in range(seeds)]
        rows.append({"gpus": gpus, **summed(runs, cluster)})
    return {"cells": len(cells), "epochs": epochs, "epoch_s": epoch_s, "rows": rows}


def epoch_seconds(hours: float) -> float:
    """An epoch on one H100 by the measured step of 8 clips of 6 s in CUDA graphs: an estimate."""
    found = json.loads((FOLDER / "h100-2026-11-27.json").read_text())
    (step,) = (
        row["ms"]
        for row in found["rows"]
        if row["what"] == "MESM training step" and row.get("shape") == "8 clips"
    )
    return float(hours * 3600 / (8 * 6) * step / 1000)


def parameters() -> int:
    """Weights of a MESM of the paper's sizes, whose gradients machines that train together send."""
    model = MESM(emotions=6, albert={"vocab_size": 30_000, **ALBERT})
    return sum(weight.numel() for weight in model.parameters())


def draw(content: Mapping[str, Any]) -> Figure:
    """Time against machines, and against the length of a unit."""
    figure = new_figure(8.4, 3.4)
    left, right = figure.subplots(1, 2)
    colours = (FE2E_COLOUR, MESM_COLOUR, EXTRA_COLOUR, "#CC79A7")
    names = (CALM, PLAIN, TWICE, ALONE)
    for name, colour in zip(names, colours, strict=True):
        rows = [row for row in content["rows"] if row["name"] == name]
        _line(left, [row["nodes"] for row in rows], rows, name, colour)
    rows = [row for row in content["rows"] if row["name"] == names[0]]
    left.plot(
        [row["nodes"] for row in rows],
        [row["terms"]["work over all cores"] / 60 for row in rows],
        color=FAINT,
        linestyle=(0, (5, 3)),
        linewidth=1.1,
        label="work over all cores",
    )
    left.set_xlabel("machines of 16 cores", fontsize=9, color=INK)
    for nodes, colour in zip(SIZED_NODES, colours, strict=False):
        rows = [
            row for row in content["rows"] if row["nodes"] == nodes and row["name"].endswith(" min")
        ]
        rows.sort(key=lambda row: -row["units"])
        _line(right, list(SIZES), rows, f"{nodes:,} machines", colour)
    right.set_xlabel("minutes of a recording (a unit)", fontsize=9, color=INK)
    left.set_yscale("log")
    for axes, ticks in ((left, list(NODES)), (right, list(SIZES))):
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_ylabel("minutes for 1,000 hours", fontsize=9, color=INK)
        axes.legend(frameon=False, fontsize=7.5)
        tidy(axes)
    right.set_ylim(bottom=0)
    return figure


def _line(
    axes: Any, x: Sequence[float], rows: Sequence[Mapping[str, Any]], name: str, colour: str
) -> None:
    low, high = ([row["seconds_90"][i] / 60 for row in rows] for i in (0, 1))
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    middle = [row["seconds"] / 60 for row in rows]
    axes.plot(x, middle, color=colour, marker="o", markersize=4, linewidth=1.5, label=name)


def main() -> None:
    """Simulate, draw, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.scaling",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each scenario")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    # The many events of a run are freed as they end; looking for circles among them takes a third.
    gc.disable()
    rates = json.loads((FOLDER / "scaling-rates.json").read_text())
    assumed, measured = Assumed(), Measured.read(rates)
    facts = asdict(measured)
    del facts["spread"]
    content = {
        "machine": environment(),
        "assumed": asdict(assumed),
        "measured": facts,
        "spread": measured.spread.pairs,
        "parameters": parameters(),
        "rows": run_all(measured, assumed, options.seeds),
        "grid": grid(epoch_seconds(assumed.hours), assumed, options.seeds),
    }
    write_json(options.results, content)
    save_png(draw(content), options.picture)
    print(f"wrote {options.results} and {options.picture}")


if __name__ == "__main__":
    main()
