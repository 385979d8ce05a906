"""`make gpu` on a machine without a GPU: it says so, and rehearses all but the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, logs: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_run", "--logs", str(logs), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_without_a_gpu_it_says_so_and_fails(tmp_path: Path) -> None:
    done = run(logs=tmp_path / "logs")
    assert done.returncode == 1
    assert "torch finds no CUDA device" in done.stderr
    assert "== build" not in done.stdout  # nothing else was tried


def test_rehearsal_runs_every_step_but_the_build(tmp_path: Path) -> None:
    steps = ("device", "tests", "sanitizer", "benchmark")
    only = [part for step in steps for part in ("--only", step)]
    done = run("--rehearse", *only, logs=tmp_path / "logs")
    assert done.returncode == 0, done.stdout + done.stderr
    for step in steps:
        assert f"== {step}: done" in done.stdout
    assert "every op ran" in (tmp_path / "logs" / "sanitizer.log").read_text()
    results = json.loads((tmp_path / "logs" / "rehearsal.json").read_text())
    assert results["finished"]


def test_a_failing_step_is_named(tmp_path: Path) -> None:
    done = run("--rehearse", "--only", "benchmark", "--seconds", "0", logs=tmp_path / "logs")
    assert done.returncode == 1
    assert "error: benchmark: no time left" in done.stderr
