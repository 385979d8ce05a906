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
    *("benchmarks.studies.experiment_cost", "benchmarks.studies.miniature_pictures"),
    *("benchmarks.studies.predict_speed", "benchmarks.studies.page_pictures"),
    *("benchmarks.studies.miniature_study", "benchmarks.studies.where_study"),
    *("benchmarks.studies.scaling", "benchmarks.studies.scaling_rates"),
    "benchmarks.studies.scaling_check",
    *("benchmarks.studies.routing", "benchmarks.floors.first_stage", "mesm_ops.tune"),
)
# Each command is a fork of one process that has imported torch, which takes longest.
RUN = """
import os, runpy, sys
import torch
for command in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        sys.argv[:] = [command, "--help"]
        runpy.run_module(command, run_name="__main__", alter_sys=True)
        raise SystemExit("the command went on after --help")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(f"\\n== {command} ended with {code}", flush=True)
"""


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """The output of each command, and then how the command ended."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *COMMANDS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found, rest = {}, done.stdout
    for command in COMMANDS:
        mark = f"\n== {command} ended with "
        text, _, rest = rest.partition(mark)
        code, _, rest = rest.partition("\n")
        found[command] = f"{text}{mark}{code}"
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_command(command: str, said: dict[str, str]) -> None:
    assert said[command].startswith(f"usage: python -m {command} [-h]")
    assert said[command].endswith(f"== {command} ended with 0")
