"""`make gpu`: everything that needs a GPU, in one command of less than ten minutes.

Builds the kernels in place with the python it runs in, runs all tests marked `gpu`, watches small
shapes with compute-sanitizer where that is installed, then measures. Every step's output goes to
build/gpu/STEP.log as well. Needs no network.

    python -m benchmarks.gpu_run
    python -m benchmarks.gpu_run --rehearse     # without a GPU, all but the device
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 570.0
# The most that each step may take; the benchmark gets what is left.
LIMITS = {"build": 150.0, "tests": 200.0, "sanitizer": 60.0}


@dataclass
class Run:
    """How the steps are run."""

    rehearse: bool
    logs: Path
    end: float  # time.monotonic() by which all must be done

    @property
    def device(self) -> str:
        """Where tensors lie."""
        return "cpu" if self.rehearse else "cuda"

    def left(self) -> float:
        """Seconds until all must be done."""
        return self.end - time.monotonic()

    def call(self, step: str, command: list[str], **environment: str) -> str | None:
        """Run a command, its output to the screen and to a log; return what went wrong."""
        limit = self.left()
        if not self.rehearse:  # a small machine may compile for longer
            limit = min(limit, LIMITS.get(step, limit))
        if limit <= 0:
            return "no time left"
        log = self.logs / f"{step}.log"
        print(f"\n== {step}: {' '.join(command)}", flush=True)
        kept = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        kept |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
        with (
            log.open("a") as file,
            subprocess.Popen(
                command, cwd=ROOT, env=kept, stdout=file, stderr=subprocess.STDOUT
            ) as process,
        ):
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                return f"not done after {limit:.0f} s; {log}"
        print("\n".join(log.read_text().splitlines()[-25:]), flush=True)
        return f"exit code {code}; {log}" if code else None


def find_device(run: Run) -> str | None:
    """Say what GPU there is."""
    try:
        import torch
    except ImportError as error:
        return f"{sys.executable} has no torch ({error}): name a python with make gpu GPU_PYTHON="
    print(f"python {sys.version.split()[0]}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        print(f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}")
        return None if major >= 8 else f"the GPU is too old: {major}.{minor}, 8.0 is needed"
    if run.rehearse:
        print("no GPU: rehearsing on the CPU")
        return None
    return "torch finds no CUDA device; `python -m benchmarks.gpu_run --rehearse` needs none"


def build(run: Run) -> str | None:
    """Compile csrc, for this GPU's architecture alone; a rehearsal into a folder of its own."""
    command = [sys.executable, "setup.py", "build_ext"]
    if run.rehearse:
        wanted = "1" if shutil.which("nvcc") else "0"
        command += ["--build-lib", str(run.logs / "lib")]
        return run.call("build", command, MESM_OPS_CUDA=wanted)
    import torch

    major, minor = torch.cuda.get_device_capability()
    archs = os.environ.get("MESM_OPS_CUDA_ARCHS", f"{major}{minor}")
    return run.call("build", [*command, "--inplace"], MESM_OPS_CUDA="1", MESM_OPS_CUDA_ARCHS=archs)


def tests(run: Run) -> str | None:
    """Run every test marked gpu; in a rehearsal they are collected, and skip."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    return run.call("tests", [*command, "tests/mesm_ops", "tests/csrc/cuda"])


def sanitizer(run: Run) -> str | None:
    """Watch every op on small maps: wrong addresses, then races."""
    program = [sys.executable, "-m", "benchmarks.gpu_calls", "--device", run.device]
    tool = shutil.which("compute-sanitizer")
    if run.rehearse:
        return run.call("sanitizer", program)
    if tool is None:
        print("compute-sanitizer is not installed: every op runs on small maps unwatched")
        return run.call("sanitizer", program)
    for kind in ("memcheck", "racecheck"):
        watched = [tool, "--tool", kind, "--error-exitcode", "9", *program]
        if problem := run.call("sanitizer", watched, PYTORCH_NO_CUDA_MEMORY_CACHING="1"):
            return f"{kind}: {problem}"
    return None


def benchmark(run: Run) -> str | None:
    """Measure with the time that is left."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", run.device]
    if run.rehearse:
        results = str(run.logs / "rehearsal.json")
        command += ["--smoke", "--no-compile", "--results", results]
    seconds = max(30.0, run.left() - 30)  # a row may outlast the deadline
    return run.call("benchmark", [*command, "--seconds", f"{seconds:.0f}"])


STEPS: dict[str, Callable[[Run], str | None]] = {
    "device": find_device,
    "build": build,
    "tests": tests,
    "sanitizer": sanitizer,
    "benchmark": benchmark,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rehearse", action="store_true", help="all but what needs the device")
    parser.add_argument("--only", choices=list(STEPS), action="append", help="these steps alone")
    parser.add_argument("--logs", type=Path, default=ROOT / "build" / "gpu")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    shutil.rmtree(arguments.logs, ignore_errors=True)
    arguments.logs.mkdir(parents=True)
    run = Run(arguments.rehearse, arguments.logs, time.monotonic() + arguments.seconds)
    problems: dict[str, str] = {}
    for name, step in STEPS.items():
        if arguments.only and name not in arguments.only:
            continue
        start = time.monotonic()
        problem = step(run)
        print(f"== {name}: {problem or 'done'} ({time.monotonic() - start:.0f} s)", flush=True)
        if problem:
            problems[name] = problem
            if name in ("device", "build"):  # nothing after it can run
                break
    for name, problem in problems.items():
        print(f"error: {name}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
