"""`make gpu`: everything that needs a GPU, in one command of at most nine minutes.

Builds the kernels in place with its own python, runs all tests marked `gpu` while compute-sanitizer
watches every op on small maps, compiles the dense rivals, then measures: the most wanted rows
first, each in a process of its own. Needs no network. The folder of results gets bench.json,
written anew after every row, bench.txt, a page of all rows, bench.png and a log of each step. A
second call resumes where the first stopped, as long as the sources are the same.

    python -m benchmarks.gpu.run
    python -m benchmarks.gpu.run --skip-build --skip-tests --only "block inference" --seconds 120
    python -m benchmarks.gpu.run --rehearse     # without a GPU, all but the device
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.environment import ROOT, environment, sources_digest
from benchmarks.gpu import plan, report
from benchmarks.gpu.checks import Checks, Deadline
from benchmarks.gpu.compilation import Compilation
from benchmarks.gpu.processes import Processes, Stopped
from benchmarks.gpu.results import Results
from benchmarks.gpu.rivals import Rival, hold
from benchmarks.gpu.row import Facts, Row, Setting, machine_of
from benchmarks.gpu.row import measure as measure_row
from mesm_ops import backends, explain

SECONDS = 540.0
COMPILING = 120.0  # seconds that the rivals may take once the tests are over
LEAST = 8.0  # seconds that must be left for another row to begin
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
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    os.environ.pop("TRITON_INTERPRET", None)


def check_and_measure(
    arguments: argparse.Namespace, checks: Checks, setting: Setting, rows: list[Row]
) -> int:
    """Test while the rivals are compiled, then measure; returns how many rows failed."""
    folder, deadline = setting.folder, checks.deadline
    if arguments.no_measure:
        if not arguments.skip_tests:
            checks.run("tests", "sanitizer")
        return 0
    facts = environment(setting.device)
    facts["backends"] = {op: explain(op) for op in backends.ops()}
    setting = replace(setting, machine=machine_of(facts["name"]))
    results = Results(folder / "bench.json", facts, sources_digest(), again=arguments.retry)
    waiting = [row for row in rows if not results.has(row.name)]
    processes = usable_processes(setting)
    lock = CACHE / "timing.lock"
    with hold(lock):  # while tests run, no compiler times its kernels
        compilation = Compilation(processes, setting, rivals_of(waiting, arguments), lock)
        if not arguments.skip_tests:
            checks.run("tests", "sanitizer")
    compiled, problems = compilation.finish(min(COMPILING, deadline.left()))
    for name, problem in problems.items():
        print(f"   {name}: {problem}", flush=True)
    setting = replace(setting, compiled=compiled)
    missing = [*measure(processes, results, setting, waiting, deadline)]
    results.write(finished=not missing, problems=checks.problems | problems)
    text = report.page(results.content, missing)
    (folder / "bench.txt").write_text("\n".join(text) + "\n")
    print("\n".join(["", *report.ending(results.content, missing)]))
    print(f"Written to {results.path}, bench.txt and {picture(results)} beside it")
    return sum("error" in row for row in results.rows)


def usable_processes(setting: Setting) -> Processes:
    """Forked processes where the device works in them, else fresh ones."""
    processes = Processes()
    try:
        for _ in processes.stream(partial(touch, setting.device), 60, setting.folder / "rows.log"):
            pass
    except (RuntimeError, Stopped) as error:
        print(f"   forked processes cannot use the device ({error}): fresh ones", flush=True)
        return Processes("spawn")
    return processes


def touch(device: str) -> Iterator[Facts]:
    """Compute something on the device."""
    yield {"sum": float(torch.ones(8, device=device).sum())}


def rivals_of(rows: list[Row], arguments: argparse.Namespace) -> list[Rival]:
    """The rivals of the rows, each once; in a rehearsal one rival that a single row needs."""
    if arguments.no_compile:
        return []
    every = [row.rival for row in rows if row.rival is not None]
    found = {rival.name: rival for rival in every}
    if arguments.rehearse:
        needed = Counter(rival.name for rival in every)
        return [rival for name, rival in found.items() if needed[name] == 1][:1]
    # The models in bfloat16 take longest to compile and come first; the others keep their order.
    return sorted(found.values(), key=lambda rival: not re.match("FE2E.*bfloat16", rival.name))


def measure(
    processes: Processes,
    results: Results,
    setting: Setting,
    rows: list[Row],
    deadline: Deadline,
) -> Iterator[str]:
    """Measure row by row; yields the names of rows that were not measured for lack of time."""
    for number, row in enumerate(rows, start=1):
        left = deadline.left()
        if left < LEAST:
            yield from (each.name for each in rows[number - 1 :])
            return
        limit = min(left, row.limit)
        try:
            work = partial(measure_row, row, setting)
            for facts in processes.stream(work, limit, setting.folder / "rows.log"):
                say(number, rows, left, results.add(row.name, facts, dict(row.goals)))
        except Stopped as error:
            if limit < row.limit:  # the run ended; the row is not at fault
                results.forget(row.name)
                yield row.name
                continue
            say(number, rows, left, results.add(row.name, failure(row, error), {}))
        except RuntimeError as error:
            say(number, rows, left, results.add(row.name, failure(row, error), {}))


def say(number: int, rows: list[Row], left: float, row: Facts) -> None:
    """Print a row as soon as it is measured: output is often read from its end."""
    print(f"[{number}/{len(rows)}, {left:.0f} s left] {report.line(row)}", flush=True)


def failure(row: Row, error: Exception) -> Facts:
    """The facts of a row that failed."""
    return {"group": "failed", "what": row.name, "error": str(error)}


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
