"""`make gpu`: everything that needs a GPU, in one command of at most nine minutes.

Builds the kernels in place with its own python, runs all tests marked `gpu` while compute-sanitizer
watches every op on small maps, and measures: processes compile side by side and take turns on the
device, the most wanted rows first. Needs no network. The folder of results gets bench.json, written
anew after every row, bench.txt, a page of all rows, bench.png and a log of each step. A second call
resumes where the first stopped, as long as the sources are the same.

    python -m benchmarks.gpu.run
    python -m benchmarks.gpu.run --skip-build --skip-tests --only "block inference" --seconds 120
    python -m benchmarks.gpu.run --rehearse     # without a GPU, all but the device
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.environment import ROOT, environment, sources_digest
from benchmarks.gpu import plan, report
from benchmarks.gpu.checks import Checks, Deadline
from benchmarks.gpu.families import CORES_EACH, Family, families_of, processes_at_once
from benchmarks.gpu.processes import Processes
from benchmarks.gpu.results import Results
from benchmarks.gpu.row import Facts, Row, Setting, machine_of
from benchmarks.gpu.scheduler import Scheduler
from benchmarks.gpu.turns import Turns

SECONDS = 540.0
PATIENCE = 4.0  # a rehearsal's time limits, in those of a GPU
MOST = 16  # processes that may live
GIB_EACH = 4  # of the GPU's memory
CACHE = ROOT / "build" / "gpu" / "cache"
CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.run",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--rehearse", action="store_true", help="all but what needs the device")
    parser.add_argument("--skip-build", action="store_true", help="the kernels are built")
    parser.add_argument("--skip-tests", action="store_true", help="neither tests nor sanitizer")
    parser.add_argument("--no-compile", action="store_true", help="rivals in eager mode alone")
    parser.add_argument("--no-measure", action="store_true", help="build and test alone")
    parser.add_argument("--only", metavar="PATTERN", help="rows whose name has this expression")
    parser.add_argument("--list", action="store_true", help="print the names of all rows")
    parser.add_argument("--retry", action="store_true", help="measure failed rows again")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which it ends")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "gpu", metavar="DIR", help="of the results"
    )
    arguments = parser.parse_args()
    device = "cpu" if arguments.rehearse else "cuda"
    folder = arguments.out.resolve()
    setting = plan.setting_of(device, folder, small=arguments.rehearse)
    try:
        rows = plan.chosen(plan.rows(setting), arguments.only)
    except ValueError as error:
        parser.error(str(error))
    if arguments.list:
        print("\n".join(row.name for row in rows))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return run(arguments, setting, rows)
    except KeyboardInterrupt:
        print("stopped; what was measured is kept, and the same command goes on", file=sys.stderr)
        return 130


def run(arguments: argparse.Namespace, setting: Setting, rows: list[Row]) -> int:
    """Build, test and measure; returns the exit status."""
    folder = setting.folder
    prepare(arguments.rehearse)
    checks = Checks(folder, arguments.rehearse, Deadline(arguments.seconds))
    usable = checks.run("device") and (arguments.skip_build or checks.run("build"))
    failed = 0
    if usable:
        failed = check_and_measure(arguments, checks, setting, rows)
    for name, problem in checks.problems.items():
        print(f"error: {name}: {problem}", file=sys.stderr)
    return 1 if checks.problems or failed else 0


def prepare(rehearse: bool) -> None:
    """Set caches for later processes, and a way to count GPUs that keeps this process forkable."""
    if rehearse:
        os.environ["OMP_NUM_THREADS"] = "1"  # small tensors gain nothing from more threads
    for variable, name in CACHES.items():
        os.environ.setdefault(variable, str(CACHE / name))
    CACHE.mkdir(parents=True, exist_ok=True)
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(CORES_EACH)
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    os.environ.pop("TRITON_INTERPRET", None)


def check_and_measure(
    arguments: argparse.Namespace, checks: Checks, setting: Setting, rows: list[Row]
) -> int:
    """Test while the first rows are prepared, then measure; returns how many rows failed."""
    folder, deadline = setting.folder, checks.deadline
    steps = () if arguments.skip_tests else ("tests", "sanitizer")
    if arguments.no_measure:
        if steps:
            checks.run(*steps)
        return 0
    processes, facts = usable_processes(setting)
    setting = replace(setting, machine=machine_of(facts["name"]))
    results = Results(folder / "bench.json", facts, sources_digest(), again=arguments.retry)
    testing = threading.Thread(target=checks.run, args=steps, daemon=True)
    if steps:
        testing.start()
    Scheduler(
        processes,
        results,
        setting,
        families([row for row in rows if not results.has(row.name)], arguments),
        order=[row.name for row in rows],
        left=deadline.left,
        at_once=processes_at_once(),
        most=most_processes(facts),
        testing=testing.is_alive,
        patience=PATIENCE if arguments.rehearse else 1.0,
    ).run()
    if steps:
        testing.join()
    missing = [row.name for row in rows if not results.has(row.name)]
    results.write(finished=not missing, problems=checks.problems)
    text = report.page(results.content, missing)
    (folder / "bench.txt").write_text("\n".join(text) + "\n")
    print("\n".join(["", *report.ending(results.content, missing)]))
    print(f"Written to {results.path}, bench.txt and {picture(results)} beside it")
    return sum("error" in row for row in results.rows)


def usable_processes(setting: Setting) -> tuple[Processes, Facts]:
    """Forked processes where the device works in them, else fresh ones; facts about the machine."""
    ask = partial(describe, setting.device)
    log = setting.folder / "rows.log"
    processes = Processes()
    try:
        (facts,) = processes.ask(ask, 60, log)
    except RuntimeError as error:
        print(f"   forked processes cannot use the device ({error}): fresh ones", flush=True)
        processes = Processes("spawn")
        (facts,) = processes.ask(ask, 60, log)
    return processes, facts


def describe(device: str, turns: Turns) -> None:
    """Facts about the machine and the kernels, by a process that began after the build."""
    from mesm_ops import backends, explain

    torch.ones(8, device=device).sum().item()
    turns.send(
        "facts", environment(device) | {"backends": {op: explain(op) for op in backends.ops()}}
    )


def families(rows: list[Row], arguments: argparse.Namespace) -> list[Family]:
    """The rows' families; in a rehearsal only one with a single row compiles its rival."""
    if arguments.no_compile:
        return families_of(rows, "not compiled, as was asked")
    found = families_of(rows)
    if arguments.rehearse:
        chosen = next((f for f in found if f.compiles and len(f.rows) == 1), None)
        for family in found:
            if family is not chosen:
                family.uncompiled = "not compiled in a rehearsal"
    return found


def most_processes(facts: Facts) -> int:
    """How many processes may live, given the memory of the machine's GPU."""
    if "memory_gib" not in facts:
        return 2 * processes_at_once()
    return max(2, min(MOST, int(facts["memory_gib"] / GIB_EACH)))


def picture(results: Results) -> str:
    """Draw the results into their folder; returns the picture's name, or why there is none."""
    try:  # a GPU machine may lack matplotlib
        from benchmarks.gpu.plot import draw
        from mesm.plots.style import save_png
    except ImportError as error:
        return f"no picture ({error})"
    path = results.path.with_suffix(".png")
    save_png(draw(results.rows, results.content["machine"]["name"]), path)
    return path.name


if __name__ == "__main__":
    raise SystemExit(main())
