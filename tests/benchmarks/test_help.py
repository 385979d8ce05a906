"""Every command's --help: named as one calls it, and nothing else is done."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.environment import ROOT

COMMANDS = (
    *("benchmarks.floors.cost_model", "benchmarks.floors.roofline", "benchmarks.floors.tile_order"),
    *("benchmarks.gpu.run", "benchmarks.gpu.watch", "benchmarks.gpu.first_step"),
    *("benchmarks.gpu_check", "benchmarks.gpu_check.host_path", "benchmarks.tables"),
    *("benchmarks.studies.experiment_cost", "benchmarks.studies.miniature_results"),
    *("benchmarks.studies.miniature_study", "benchmarks.studies.routing", "mesm_ops.tune"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_command(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m {command} [-h]")
