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
from benchmarks.scaling.simulator import simulate
from benchmarks.scaling.work import Rates, Spread, draw_units, quantiles
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
# A file of the corpus has 512 clips of some seconds; each could be a unit of its own.
APART = "slow units twice, files written by workers"


@dataclass(frozen=True)
class Assumed:
    """Everything that was not measured here.

    Attributes:
        hours: of clips.
        clip_s: seconds of a clip, on average; as IEMOCAP's.
        minutes: of a recording, on average: a unit.
        cores: of a machine.
        megabits: of a recording per second.
        head_tasks: units per second that a cluster's head hands out, as Ray's releases publish.
        link: bytes per second of a worker.
        storage: bytes per second of the storage that all share.
        latency: seconds until the first byte.
        slow_share, slow_factor: machines that are slower, and how much.
        node_mtbf_h, worker_mtbf_h: hours until a machine, a worker fails.
        detect, restart: seconds until a failure is known, and until a machine is back.
        copies: how many times longer than others of its size before a unit is begun again.
        gpus: of a machine that trains.
        gpu_link: bytes per second between machines that train together.
    """

    hours: float = 1000.0
    clip_s: float = 4.6
    minutes: float = 5.0
    cores: int = 16
    megabits: float = 2.5
    head_tasks: float = 582.0
    link: float = 30e6
    storage: float = 5e9
    latency: float = 0.05
    slow_share: float = 0.05
    slow_factor: float = 2.0
    node_mtbf_h: float = 24.0
    worker_mtbf_h: float = 1000.0
    detect: float = 30.0
    restart: float = 120.0
    copies: float = 1.5
    gpus: int = 8
    gpu_link: float = 25e9


@dataclass(frozen=True)
class Measured:
    """Measured amounts, of an hour of clips if not said otherwise.

    Attributes:
        core_s: processor seconds of the units.
        write: bytes of the part files.
        listing_s: of the head before the first unit, per clip.
        assembly_clip_s, assembly_s: of the head after the last unit, per clip and per hour.
        before_s: of the command, whatever the corpus.
        start_s: of a worker.
        pool_head_s: of the head per unit, through the pool of one machine.
        spread: how units differ.
    """

    core_s: float
    write: float
    listing_s: float
    assembly_clip_s: float
    assembly_s: float
    before_s: float
    start_s: float
    pool_head_s: float
    spread: Spread

    @classmethod
    def read(cls, rates: Mapping[str, Any]) -> Measured:
        """From the JSON of `scaling_rates`."""
        units = rates["units"]
        hours = sum(unit["seconds"] for unit in units) / 3600
        clips = sum(unit["clips"] for unit in units)
        per_clip, per_second = per_clip_and_second(rates["assembly"])
        return cls(
            core_s=sum(unit["cpu_s"] for unit in units) / hours,
            write=sum(unit["write"] for unit in units) / hours,
            listing_s=rates["listing_cpu_s"] * len(units) / clips,
            assembly_clip_s=per_clip,
            assembly_s=3600 * per_second,
            # The command imports what a worker does.
            before_s=rates["pool"]["start_cpu_s"],
            start_s=rates["pool"]["start_cpu_s"],
            pool_head_s=rates["pool"]["head_cpu_s"],
            spread=Spread.of(units),
        )


def per_clip_and_second(assemblies: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Processor seconds of the assembly per clip and per second of clips.

    Taken from two corpora with as many clips, one of which has the longer ones.

    Raises:
        ValueError: a clip costs less the longer it is: the measurement was disturbed.
    """
    short, long = assemblies
    costs = [
        sum(found[f"{step}_cpu_s"] for step in ("collect", "assemble", "hash"))
        for found in (short, long)
    ]
    per_second = (costs[1] - costs[0]) / (long["seconds"] - short["seconds"])
    per_clip = (costs[0] - per_second * short["seconds"]) / short["clips"]
    if min(per_second, per_clip) < 0:
        raise ValueError(f"assembly costs {per_clip} s a clip and {per_second} s a second of it")
    return per_clip, per_second


def cluster_of(nodes: int, measured: Measured, assumed: Assumed) -> Cluster:
    """The machines of a preparation."""
    clips = 3600 * assumed.hours / assumed.clip_s
    return Cluster(
        nodes=nodes,
        cores=assumed.cores,
        before=measured.before_s + clips * measured.listing_s,
        start=measured.start_s,
        dispatch=1 / assumed.head_tasks,
        after=clips * measured.assembly_clip_s + assumed.hours * measured.assembly_s,
        link=assumed.link,
        storage=assumed.storage,
        latency=assumed.latency,
        slow_share=assumed.slow_share,
        slow_factor=assumed.slow_factor,
        node_mtbf=3600 * assumed.node_mtbf_h,
        worker_mtbf=3600 * assumed.worker_mtbf_h,
        detect=assumed.detect,
        restart=assumed.restart,
    )


def units_of(measured: Measured, assumed: Assumed, seed: int, sigma: float = 0.0) -> list[Unit]:
    """The recordings of a preparation, as one seed draws them."""
    rates = Rates(measured.core_s, assumed.megabits * 1e6 / 8 * 3600, measured.write)
    return draw_units(measured.spread, rates, assumed.hours, assumed.minutes, seed, sigma)


def terms(units: Sequence[Unit], cluster: Cluster) -> dict[str, float]:
    """Seconds that each part would take if it were alone: no run is shorter than any of them."""
    workers = cluster.nodes * cluster.per_node
    moved = sum(unit.read + unit.write for unit in units)
    longest = max(
        unit.seconds + cluster.latency + (unit.read + unit.write) / cluster.link for unit in units
    )
    return {
        "head before": cluster.before,
        "workers' start": cluster.start,
        "work over all cores": sum(unit.seconds for unit in units) / workers,
        "longest unit": longest,
        "head hands out": len(units) * cluster.dispatch,
        "storage": moved / min(cluster.storage, workers * cluster.link),
        "head after": cluster.after,
    }


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
        cluster: the machines.
        assumed: with what is other than elsewhere.
        names: per outcome, of how many seconds the head works after the last unit: nothing else
            depends on that, so that the same runs serve for several.
        sigma: of the lognormal factor on lengths of units.
        main: whether it runs with every seed; a variant runs with a quarter of them.
    """

    cluster: Cluster
    assumed: Assumed
    names: Mapping[str, float]
    sigma: float = 0.0
    main: bool = False


def scenarios(measured: Measured, assumed: Assumed) -> list[Scenario]:
    """All that is simulated, main scenarios first."""
    rows = []
    for nodes in NODES:
        cluster = cluster_of(nodes, measured, assumed)
        calm = replace(cluster, slow_share=0.0, node_mtbf=inf, worker_mtbf=inf)
        several = replace(cluster, copies=assumed.copies)
        apart = {APART: 0.0} | ({f"{assumed.minutes:g} min": 0.0} if nodes in SIZED_NODES else {})
        rows += [
            Scenario(calm, assumed, {CALM: cluster.after}, main=True),
            Scenario(cluster, assumed, {PLAIN: cluster.after}, main=True),
            Scenario(several, assumed, {TWICE: cluster.after} | apart, main=True),
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
        if other == assumed and not sigma:
            continue  # a main one
        for nodes in SIZED_NODES:
            cluster = replace(cluster_of(nodes, measured, other), copies=other.copies)
            rows.append(Scenario(cluster, other, {name: 0.0}, sigma))
    return rows


def run_all(measured: Measured, assumed: Assumed, seeds: int) -> list[dict[str, Any]]:
    """Simulate every scenario with its seeds."""
    rows, todo = [], scenarios(measured, assumed)
    counts = [seeds if one.main else max(1, seeds // 4) for one in todo]
    with tqdm(total=sum(counts), desc="simulating", unit="run") as bar:
        for one, count in zip(todo, counts, strict=True):
            runs = []
            for seed in range(count):
                units = units_of(measured, one.assumed, seed, one.sigma)
                runs.append(simulate(units, one.cluster, seed))
                bar.update()
            for name, after in one.names.items():
                cluster = replace(one.cluster, after=after)
                ended = [
                    replace(
                        run,
                        seconds=run.done + after,
                        efficiency=run.efficiency * run.seconds / (run.done + after),
                    )
                    for run in runs
                ]
                rows.append(
                    {
                        "name": name,
                        "nodes": cluster.nodes,
                        "units": len(units),
                        "terms": terms(units, cluster),
                        **summed(ended, cluster),
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
    names = (CALM, PLAIN, TWICE, APART)
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
