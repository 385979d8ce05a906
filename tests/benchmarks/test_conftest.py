"""`pytest benchmarks` records with pytest-benchmark what it timed itself, in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.environment import ROOT

ROW = "test_training_step[256-512-6x6-0.1]"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    environment = kept | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_a_row_is_in_both_records(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    done = run(
        *(f"benchmarks/test_block.py::{ROW}", "--benchmark-only", "--device", "cpu"),
        *("--budget", "1", "--results", str(ours), "--benchmark-json", str(theirs)),
    )
    assert done.returncode == 0, done.stdout
    (row,) = json.loads(ours.read_text())["rows"]
    (record,) = json.loads(theirs.read_text())["benchmarks"]
    assert record["stats"]["median"] * 1e3 == pytest.approx(row["ms"])
    assert statistics.median(record["stats"]["data"]) * 1e3 == pytest.approx(row["ms"])
    assert record["stats"]["rounds"] == row["rounds"]
    assert "1 rows" in done.stdout


def test_a_device_that_is_not_there_is_refused() -> None:
    done = run("benchmarks", "--benchmark-only", "--device", "cuda")
    assert done.returncode == 4
    assert "torch finds no CUDA device" in done.stderr
