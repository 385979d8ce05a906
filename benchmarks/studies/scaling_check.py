"""Real runs of `mesm prepare` with 1, 2 and 4 workers beside what the simulation says of them.

A miniature corpus without faults is made. The simulation is given what was measured apart: each
unit's processor time, the head's work before and after, and, for as many processes as the run has,
a worker's start and how much slower a core is beside busy ones: four workers share two cores. The
real runs take turns, so that a slow minute of the machine meets all of them.

On an idle machine the clock says how long a run took. On a shared one it says mostly what others
did, so two times are compared. The clock's, where the simulation is given the cores that others
left; and the time on idle cores, from the processor time of each process of the real run, which of
its workers did which units included.

    OMP_NUM_THREADS=1 python -m benchmarks.studies.scaling_check     # five minutes on 2 idle cores
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT, environment
from benchmarks.report import write_json
from benchmarks.scaling.cluster import Cluster, Unit
from benchmarks.scaling.measure import (
    children_cpu,
    children_of,
    cpu_of,
    machine_cpu,
    measure_assembly,
    measure_pool,
    measure_start,
    units_side_by_side,
)
from benchmarks.scaling.simulator import simulate
from benchmarks.studies.scaling_rates import slower_together
from mesm.corpora.miniature.emotions import Layout
from mesm.corpora.miniature.generate import generate

RESULTS = ROOT / "benchmarks/results/scaling-check.json"
LAYOUT: Layout = "iemocap"
WORKERS = (1, 2, 4)
LEAST = 0.05  # of a core that others leave at least; a run with less would not end
POLL = 0.1  # seconds between two looks at the processes of a run


def prepare(raw: Path, out: Path, workers: int) -> dict[str, Any]:
    """Run `mesm prepare` and time it.

    Returns:
        wall_s; head_cpu_s of the command's own process and workers_cpu_s of each worker;
        others_cores, how many cores everybody else used meanwhile; load.

    Raises:
        subprocess.CalledProcessError: it failed; its words are on stderr.
    """
    command = [sys.executable, "-m", "mesm", "prepare", LAYOUT, str(raw), str(out)]
    command += ["--workers", str(workers)]
    everybody, clock = machine_cpu(), time.perf_counter()
    own = children_cpu()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    head, seen = 0.0, dict[int, float]()
    while process.poll() is None:
        head = max(head, cpu_of(process.pid) or 0.0)
        for child in children_of(process.pid):
            seen[child] = max(seen.get(child, 0.0), cpu_of(child) or 0.0)
        time.sleep(POLL)
    wall = time.perf_counter() - clock
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    own = children_cpu() - own
    # Beside the workers there is one that keeps track of what they share, and does nothing.
    busiest = sorted(seen.values())[-workers:] if workers > 1 else []
    return {
        "wall_s": wall,
        "cpu_s": own,
        "head_cpu_s": head,
        "workers_cpu_s": busiest,
        "others_cores": max(0.0, machine_cpu() - everybody - own) / wall,
        "load": os.getloadavg()[0],
    }


def on_idle_cores(head: float, workers: Sequence[float], cores: int) -> float:
    """Seconds that processes of so much processor time take on cores that nobody else uses.

    The head works before and after the workers, who begin together and share the cores equally.
    """
    seconds, before = head, 0.0
    for number, spent in enumerate(sorted(workers)):
        active = len(workers) - number
        seconds += (spent - before) * max(1.0, active / cores)
        before = spent
    return seconds


def predict(content: dict[str, Any], workers: int, cores: float) -> float:
    """Seconds that the simulation gives a run on so many cores, of what was measured apart.

    One worker is the command's own process, which has started already.
    """
    units = [Unit(row["clips"], row["cpu_s_alone"]) for row in content["units"]]
    # The head runs alone, before and after the workers, on what is left of one core.
    slower = 1 / min(1.0, cores)
    together = content["together"].get(str(workers), {})
    cluster = Cluster(
        nodes=1,
        cores=cores,
        workers=workers,
        crowding=together.get("crowding", 1.0),
        before=(content["before_cpu_s"] + together.get("head_cpu_s", 0.0)) * slower,
        # A core beside busy ones is slower in the simulation already.
        start=together.get("start_cpu_s", 0.0) * together.get("crowding", 1.0),
        dispatch=content["dispatch_cpu_s"] if workers > 1 else 0.0,
        after=content["after_cpu_s"] * slower,
    )
    return simulate(units, cluster).seconds


def compared(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Every real run with its predictions: on what others left, and on an idle machine."""
    cores = content["machine"]["cores"]
    rows = []
    for run in content["runs"]:
        workers = run["workers"]
        left = max(LEAST, cores - run["others_cores"])
        rows.append(
            run
            | {
                "predicted_s": predict(content, workers, left),
                "idle_s": on_idle_cores(run["head_cpu_s"], run["workers_cpu_s"], cores),
                "predicted_idle_s": predict(content, workers, cores),
            }
        )
    return rows


def measure(raw: Path, folder: Path) -> dict[str, Any]:
    """Measure everything that a prediction takes, apart from the runs that it is compared with."""
    alone = units_side_by_side(LAYOUT, raw, folder / "parts", 1)
    together = {}
    for workers in WORKERS[1:]:
        units = units_side_by_side(LAYOUT, raw, folder / "parts", workers)
        start = measure_start(LAYOUT, raw, folder / "pool", workers)
        together[str(workers)] = {"crowding": slower_together(alone, units), **start}
    pool = measure_pool(LAYOUT, raw, folder / "pool", empty_units=100, repeats=2)
    clips = sum(unit.clips for unit in alone)
    assembly = measure_assembly(LAYOUT, folder / "parts/0", most=clips)
    after = assembly["head_cpu_s"] + assembly["files_cpu_s"]  # so few files are written alone
    # A corpus that is prepared already costs the command all but its units and what follows.
    out = folder / "finished"
    prepare(raw, out, 1)
    before = min(prepare(raw, out, 1)["cpu_s"] for _ in range(3))
    return {
        "units": [{"clips": unit.clips, "cpu_s_alone": unit.cpu_s} for unit in alone],
        "together": together,
        "before_cpu_s": before,
        "dispatch_cpu_s": pool["head_cpu_s"],
        "after_cpu_s": after,
    }


def main() -> None:
    """Measure, run, compare, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.scaling_check",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--clips", type=int, default=96, help="of the corpus")
    parser.add_argument("--repeats", type=int, default=3, help="of each number of workers")
    parser.add_argument(
        "--go-on", action="store_true", help="add runs to those of RESULTS, of the same corpus"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    content: dict[str, Any] = {"machine": environment(), "clips": options.clips}
    if options.go_on:
        content = json.loads(options.results.read_text())
        if "together" not in content:
            parser.error(f"{options.results} knows no starts of several workers: leave --go-on out")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        raw = folder / "raw"
        generate(raw, clips=content["clips"], seed=0, layout=LAYOUT)
        if not options.go_on:
            content |= measure(raw, folder) | {"runs": []}
        for _ in range(options.repeats):
            for workers in WORKERS:
                out = folder / "out"
                run = {"workers": workers, **prepare(raw, out, workers)}
                shutil.rmtree(out)
                content["runs"].append(run)
                write_json(options.results, content | {"runs": compared(content)})
                print(compared(content)[-1], flush=True)


if __name__ == "__main__":
    main()
