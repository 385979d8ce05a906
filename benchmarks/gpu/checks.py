"""The steps of `make gpu` before it measures: device, build, tests, sanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.environment import ROOT

LIMITS = {"build": 150.0, "tests": 200.0, "sanitizer": 100.0}  # seconds
# A conftest.py may import packages that a GPU machine lacks, so each group has its own session.
TEST_FOLDERS = (("tests/mesm_ops", "tests/csrc/cuda"), ("tests/mesm",))
TAIL = 6  # lines of a step's log that are printed
FAULTS = 30  # at most so many lines before, where a step failed: those that name a test at fault


class Deadline:
    """The time left to the whole run."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; below zero once the deadline has passed."""
        return self._end - time.monotonic()


@dataclass
class Checks:
    """Steps that pass or fail.

    Attributes:
        folder: the folder of the logs.
        rehearse: skip all that needs the device.
        deadline: the whole run's deadline.
        problems: why a step failed, by step.
    """

    folder: Path
    rehearse: bool
    deadline: Deadline
    problems: dict[str, str] = field(default_factory=dict)

    def run(self, *steps: str) -> bool:
        """Run steps side by side; say how each ended, and return whether all went well."""
        every: dict[str, Callable[[], str | None]] = {
            "device": self._device,
            "build": self._build,
            "tests": self._tests,
            "sanitizer": self._sanitizer,
        }

        def work(name: str) -> bool:
            start = time.monotonic()
            problem = every[name]()
            took = time.monotonic() - start
            # Why stands at the end of the run, which is read first.
            print(f"== {name}: {'failed' if problem else 'done'} ({took:.0f} s)", flush=True)
            if problem:
                self.problems[name] = problem
            return problem is None

        with ThreadPoolExecutor(len(steps)) as pool:
            return all([*pool.map(work, steps)])

    def _device(self) -> str | None:
        print(f"python {sys.version.split()[0]}, torch {torch.__version__}", flush=True)
        if self.rehearse:
            print("rehearsing on the CPU", flush=True)
            return None
        if not torch.cuda.is_available():
            return (
                "torch finds no CUDA device; `python -m benchmarks.gpu.run --rehearse` needs none"
            )
        major, minor = torch.cuda.get_device_capability()
        print(f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}", flush=True)
        return None if major >= 8 else f"the GPU is too old: {major}.{minor}, 8.0 is needed"

    def _build(self) -> str | None:
        """Compile csrc for this GPU's architecture alone; in a rehearsal into another folder."""
        command = [sys.executable, "setup.py", "build_ext"]
        if self.rehearse:
            wanted = "1" if shutil.which("nvcc") else "0"
            command += ["--build-lib", str(self.folder / "lib")]
            return self._command("build", command, MESM_OPS_CUDA=wanted)
        major, minor = torch.cuda.get_device_capability()
        archs = os.environ.get("MESM_OPS_CUDA_ARCHS", f"{major}{minor}")
        given = {"MESM_OPS_CUDA": "1", "MESM_OPS_CUDA_ARCHS": archs}
        return self._command("build", [*command, "--inplace"], **given)

    def _tests(self) -> str | None:
        """Run every test marked gpu; in a rehearsal these tests are collected, and skip."""
        workers = 2 if self.rehearse else max(2, (os.cpu_count() or 2) - 2)
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
        for folders in TEST_FOLDERS:
            files = [str(path.relative_to(ROOT)) for path in gpu_tests(folders)]
            if not files:
                continue
            if problem := self._command("tests", [*command, "-n", str(workers), *files]):
                return problem
        return None

    def _sanitizer(self) -> str | None:
        """Watch every op on small maps: wrong addresses, then races."""
        device = "cpu" if self.rehearse else "cuda"
        program = [sys.executable, "-m", "benchmarks.gpu.watch", "--device", device]
        tool = shutil.which("compute-sanitizer")
        if self.rehearse:
            return self._command("sanitizer", [*program, "--dtype", "bfloat16"])
        if tool is None:
            print("compute-sanitizer is not installed: every op runs unwatched", flush=True)
            return self._command("sanitizer", program)
        for kind in ("memcheck", "racecheck"):
            watched = [tool, "--tool", kind, "--error-exitcode", "9", *program]
            watched += ["--dtype", "bfloat16"] if kind == "racecheck" else []
            if problem := self._command("sanitizer", watched, PYTORCH_NO_CUDA_MEMORY_CACHING="1"):
                return f"{kind}: {problem}"
        return None

    def _command(self, step: str, command: list[str], **environment: str) -> str | None:
        """Run a command, its output to a log and its last lines to the screen; return the fault."""
        limit = self.deadline.left()
        if not self.rehearse:  # a small machine may compile for longer
            limit = min(limit, LIMITS[step])
        if limit <= 0:
            return "no time left"
        log = self.folder / f"{step}.log"
        print(f"== {step}: {' '.join(command)}", flush=True)
        # Kernels must not be interpreted, nor these tests taken for a pytest worker's.
        dropped = ("TRITON_INTERPRET", "PYTEST_")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(dropped)}
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
                return f"not done after {limit:.0f} s; {_named(log)}"
        lines = log.read_text(errors="replace").splitlines()
        faults = [text for text in lines[:-TAIL] if text.startswith(("FAILED", "ERROR"))]
        shown = [*(faults[:FAULTS] if code else ()), *lines[-TAIL:]]
        print("\n".join(f"   {text[:200]}" for text in shown), flush=True)
        return f"exit code {code}; {_named(log)}" if code else None


def gpu_tests(folders: tuple[str, ...]) -> list[Path]:
    """Test files that have a test marked gpu."""
    every = (path for folder in folders for path in (ROOT / folder).rglob("test_*.py"))
    return sorted(path for path in every if "mark.gpu" in path.read_text())


def _named(log: Path) -> str:
    """A log's path as results show it, without the machine's own folders."""
    return str(log.relative_to(ROOT)) if log.is_relative_to(ROOT) else log.name
