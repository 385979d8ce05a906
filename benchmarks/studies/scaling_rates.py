"""Measures the costs that the simulation of many machines begins with (docs/scaling.md).

A miniature corpus with IEMOCAP's layout and pictures of 720x480 is made; each of its dialogs is a
unit of work. Units are timed in processor time, alone and with two processes side by side, as are a
worker's start, empty units through the pool of processes, the lists read before and the files
written after. Several rounds are made of each, and the least counts: on a machine that others use,
and the load says whether they did, it is nearest to an idle one's.

    OMP_NUM_THREADS=1 python -m benchmarks.studies.scaling_rates     # some minutes on 2 idle cores
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT, environment
from benchmarks.report import write_json
from benchmarks.scaling.measure import (
    Measured,
    measure_assembly,
    measure_features,
    measure_listing,
    measure_pool,
    measure_units,
    units_side_by_side,
)
from benchmarks.studies.experiment_cost import FILMED
from mesm.corpora.miniature.emotions import Layout
from mesm.corpora.miniature.generate import generate
from mesm.corpora.prepare import PrepareOptions, prepare

RESULTS = ROOT / "benchmarks/results/scaling-rates.json"
LAYOUT: Layout = "iemocap"
LONGER = (1, 3)  # times the clips' own length, in the assembly


def slower_together(alone: list[Measured], together: list[Measured]) -> float:
    """The speed of a core beside a busy one: the median over the units."""
    quotients = (
        one.cpu_s / two.cpu_s for one, two in zip(alone, together, strict=True) if two.cpu_s
    )
    return min(1.0, statistics.median(quotients))


def measure_all(raw: Path, folder: Path) -> dict[str, Any]:
    """Measure everything of a corpus."""
    alone = units_side_by_side(LAYOUT, raw, folder / "parts", 1)
    together = units_side_by_side(LAYOUT, raw, folder / "parts", 2)
    found: dict[str, Any] = {
        "units": [
            asdict(unit) | {"cpu_s_alone": one.cpu_s}
            for one, unit in zip(alone, together, strict=True)
        ],
        "crowding": slower_together(alone, together),
        "pool": measure_pool(LAYOUT, raw, folder / "pool"),
        "listing_cpu_s": measure_listing(LAYOUT, raw),
        "assembly": assemblies(folder / "parts/0"),
    }
    prepare(LAYOUT, raw, folder / "prepared", PrepareOptions(workers=1))
    found["features"] = [
        asdict(unit) for unit in measure_features(folder / "prepared", raw, folder / "features")
    ]
    return found


def measure_around(raw: Path, parts: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Measure what stands around the units, and take their times from what was measured before.

    Raises:
        ValueError: it was measured of another corpus.
    """
    before, load = content["units"], os.getloadavg()[0]
    units = measure_units(LAYOUT, raw, parts)
    if [unit.clips for unit in units] != [unit["clips"] for unit in before]:
        raise ValueError(f"{raw} is not the corpus whose units were measured before")
    changed = {
        "units": [old | {"write": unit.write} for unit, old in zip(units, before, strict=True)],
        "listing_cpu_s": measure_listing(LAYOUT, raw),
        "assembly": assemblies(parts),
    }
    where = {"machine": environment(), "load_before": load, "load_after": os.getloadavg()[0]}
    return content | changed | {"around": where}


def assemblies(parts: Path) -> list[dict[str, float]]:
    """The final assembly of clips as they are, and of longer ones."""
    return [measure_assembly(LAYOUT, parts, times_longer=times) for times in LONGER]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.scaling_rates",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--clips", type=int, default=48, help="of the corpus")
    parser.add_argument("--raw", type=Path, help="a corpus so made before, of IEMOCAP's layout")
    parser.add_argument(
        "--only", choices=("around",), help="keep what RESULTS has of units' and workers' times"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    content: dict[str, Any] = {
        "machine": environment(),
        "load_before": os.getloadavg()[0],
        "pictures": f"{FILMED[LAYOUT].width}x{FILMED[LAYOUT].height}",
    }
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        raw = options.raw or folder / "raw"
        if options.raw is None:
            generate(raw, clips=options.clips, seed=0, layout=LAYOUT, video=FILMED[LAYOUT])
        if options.only:
            before = json.loads(options.results.read_text())
            content = measure_around(raw, folder / "parts", before)
        else:
            content |= measure_all(raw, folder) | {"load_after": os.getloadavg()[0]}
    write_json(options.results, content)
    print(f"wrote {options.results}")


if __name__ == "__main__":
    main()
