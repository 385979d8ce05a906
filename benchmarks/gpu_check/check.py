"""`make gpu-check`: compile every GPU kernel for every architecture, on a machine without a GPU.

Prints registers, spills, shared memory, tensor-core instructions and theoretical occupancy of each
kernel, and fails where one does not compile, spills, multiplies matrices without tensor cores or
does not fit on a multiprocessor.

    python -m benchmarks.gpu_check
    python -m benchmarks.gpu_check --kernel subm_conv2d --arch sm_90
"""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

# Before triton is imported: @triton.jit reads once whether to interpret kernels.
os.environ.pop("TRITON_INTERPRET", None)

import torch

from benchmarks.calls import Call, block_calls, calls
from benchmarks.gpu_check import cuda, triton
from benchmarks.gpu_check.report import Compiled, table
from benchmarks.gpu_check.triton import Launch
from benchmarks.inputs import block_case
from benchmarks.shapes import DTYPES, FACE_BLOCKS, HEADLINE_P, SMALL, Shape
from mesm.runs.interrupts import blocked
from mesm_ops.reference import Selection
from mesm_ops.triton.parts.running import Running, move_running

FRAMES = 512  # launchers choose by size; tensors are zeros that are never touched
WORKERS = 2
# Every dtype once; the widest channels in bfloat16 alone.
QUICK: dict[Shape, tuple[str, ...]] = {
    FACE_BLOCKS[0]: tuple(DTYPES),
    FACE_BLOCKS[-1]: ("bfloat16",),
}

Job = tuple[str, Callable[..., object], tuple[object, ...]]
# Forked workers find the launches here, because kernels cannot be pickled.
_launches: list[Launch] = []


def record_all(archs: list[str], full: bool) -> tuple[list[Launch], list[str]]:
    """Return the launches of all launchers on the benchmark's shapes, and the errors."""
    chosen = dict.fromkeys((*FACE_BLOCKS, SMALL[1]), tuple(DTYPES)) if full else QUICK
    found: dict[str, Launch] = {}
    errors: dict[str, None] = {}
    for shape, dtypes in chosen.items():
        case = block_case(shape, HEADLINE_P, torch.float32, FRAMES)
        for dtype in (DTYPES[name] for name in dtypes):
            blocks = (
                block_calls(case, dtype, Call.pretend, selection=selection)
                for selection in Selection
            )
            for call in itertools.chain(calls(case, dtype, Call.pretend), *blocks):
                launch = triton.launcher(call.op)
                for arch in archs if launch is not None else ():
                    try:
                        run = functools.partial(launch, call.arguments)
                        noted = triton.record(call.op, run, arch)
                    except Exception as error:
                        errors[f"{call.op} does not launch: {type(error).__name__}: {error}"] = None
                        continue
                    for one in noted:
                        found.setdefault(one.key(), one).ops.add(call.op)
    for arch in archs:
        for one in triton.record("move_running", _move_running, arch):
            found.setdefault(one.key(), one)
    return list(found.values()), list(errors)


def _move_running() -> None:
    """Launch the kernel that no op launches: the block's function does after its op."""
    vectors = (torch.zeros(FACE_BLOCKS[0].out_channels) for _ in range(4))
    running = Running(*vectors, 0.1, torch.zeros((), dtype=torch.int64))
    move_running(torch.zeros(1, dtype=torch.int32), running, running)


def compile_recorded(number: int) -> list[Compiled]:
    """Compile a launch by its place in the list that the forked worker inherited."""
    return [triton.compile_launch(_launches[number])]


def run(jobs: list[Job], workers: int) -> list[Compiled]:
    """Run the jobs side by side, printing the progress."""
    rows: list[Compiled] = []
    start = time.perf_counter()
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(max(1, workers), mp_context=context) as pool:
        with blocked():  # workers start here, and Ctrl-C is this process's to tell
            waiting = {pool.submit(work, *arguments): name for name, work, arguments in jobs}
        try:
            for number, future in enumerate(as_completed(waiting), start=1):
                made = future.result()
                rows += made
                failed = sum(row.failure() is not None for row in made)
                took = time.perf_counter() - start
                note = f", {failed} FAIL" if failed else ""
                line = f"[{number}/{len(jobs)}, {took:.0f} s] {waiting[future]}{note}"
                print(line, file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.kill()  # the pool would wait for what they compile
            raise
    return rows


def triton_jobs(
    wanted: re.Pattern[str], archs: list[str], full: bool
) -> tuple[list[Job], list[str]]:
    """Return the jobs that compile Triton's kernels, and the errors so far."""
    if not triton.modules():
        return [], []
    launches, problems = record_all(archs, full)
    if archs and not wanted.pattern:
        lost = triton.unlaunched(launches)
        problems += [f"{name}: no launcher launched it, so it was not checked" for name in lost]
    jobs: list[Job] = []
    for launch in launches:
        if wanted.search(launch.name):
            _launches.append(launch)
            label = f"{launch.name} {launch.arch} {launch.variant()}"
            jobs.append((label, compile_recorded, (len(_launches) - 1,)))
    return jobs, problems


def cuda_jobs(wanted: re.Pattern[str], archs: list[str]) -> tuple[list[Job], list[str]]:
    """Return the jobs that compile the CUDA sources, and the errors so far."""
    sources = [source for source in cuda.sources() if wanted.search(source.stem)]
    if sources and archs and cuda.find_nvcc() is None:
        names = ", ".join(source.name for source in sources)
        return [], [f"nvcc is not found (PATH, CUDA_HOME): {names} not checked"]
    jobs: list[Job] = [
        (f"{source.name} {arch}", cuda.compile_source, (source, arch))
        for arch in archs
        for source in sorted(sources, key=lambda path: -path.stat().st_size)
    ]
    return jobs, []


def check(arguments: argparse.Namespace) -> int:
    """Compile and print; return the number of failures."""
    torch.set_num_threads(1)  # workers are forked, and must not wait for threads left behind
    wanted = re.compile(arguments.kernel)
    archs = set(arguments.arch or (*cuda.ARCHS, *triton.ARCHS))
    for_cuda = [arch for arch in cuda.ARCHS if archs & {arch, arch.rstrip("a")}]
    for_triton = [arch for arch in triton.ARCHS if archs & {arch, arch + "a"}]
    jobs, problems = cuda_jobs(wanted, for_cuda if arguments.only != "triton" else [])
    if arguments.only != "cuda":
        more, wrong = triton_jobs(wanted, for_triton, arguments.full)
        jobs, problems = jobs + more, problems + wrong
    if not jobs and not problems:
        problems.append(f"nothing to check: no kernel is called like {wanted.pattern!r}")
    rows = run(jobs, arguments.workers)
    lines = table(rows)
    if arguments.table:
        arguments.table.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    failures = [row for row in rows if row.failure()]
    print(
        f"\n{len(rows)} compiled kernels ({', '.join(sorted({row.arch for row in rows}))}), "
        f"{len(failures)} fail, {len(problems)} other problems."
    )
    for row in failures:
        print(f"FAILS: {row.kernel} [{row.variant}] for {row.arch}: {row.failure()}")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return len(failures) + len(problems)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--kernel", default="", help="only what is called like this expression")
    parser.add_argument("--arch", action="append", help="as sm_90; may be given several times")
    parser.add_argument("--only", choices=("cuda", "triton"), help="only one kind of kernel")
    parser.add_argument("--full", action="store_true", help="every shape in every dtype")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--table", type=Path, help="write the table to a file as well")
    try:
        sys.exit(1 if check(parser.parse_args()) else 0)
    except KeyboardInterrupt:
        parser.exit(130, "stopped; nothing was written\n")
