"""How many launches a training step of the block takes, all included; and that its time is told."""

from __future__ import annotations

import re

import pytest

from tests.benchmarks.gpu_check.uninterpreted import ROOT, run

pytest.importorskip("triton")

MOST_LAUNCHES = 25  # today's number, which is the goal too: it must not grow

COUNT = """
import torch
from collections import Counter
from benchmarks.gpu_check.host_path import SELECTION, count, played, training_step

launches = Counter()
with played(launches):
    step = training_step()
    print(*sorted(count(step, launches).elements()))
    print(*sorted(count(lambda: (step(), torch.ones(3).add_(1).view(3, 1)), launches)
        - count(step, launches)))
    print(*SELECTION)
assert not torch.zeros(1).is_cuda
assert torch.zeros(1).is_cpu
assert not torch.is_autocast_enabled("cuda")
"""


def test_a_training_step_takes_few_launches() -> None:
    done = run("-c", COUNT)
    assert done.returncode == 0, done.stderr
    kernels, more, selection = (line.split() for line in done.stdout.splitlines())
    assert len(kernels) <= MOST_LAUNCHES, kernels
    assert set(selection) <= set(kernels)
    # Both convolutions, forward and backward, in the kernels for Hopper GPUs.
    assert kernels.count("convolve_kernel") == 4
    assert kernels.count("weight_gradient_kernel") == 2
    # A kernel of torch's would be counted, and neither a view nor fresh memory is one.
    assert more == ["aten::add_", "aten::ones"]
    # The selection's kernels are those that the source launches, and one for rows that are given.
    source = (ROOT / "csrc" / "cuda" / "place.cu").read_text()
    assert set(re.findall(r'\blaunch\("(\w+)"', source)) == {*selection, "place_given"}


def test_it_tells_launches_and_time() -> None:
    done = run("-m", "benchmarks.gpu_check.host_path", "--steps", "3", "--profile", "5")
    assert done.returncode == 0, done.stderr
    said = re.search(r"^ *(\d+) launches, (\d+\.\d+) ms of the host$", done.stdout, re.MULTILINE)
    assert said is not None, done.stdout
    assert 0 < int(said[1]) <= MOST_LAUNCHES
    assert float(said[2]) > 0
    assert "replay.py" in done.stdout


def test_no_steps_are_refused() -> None:
    done = run("-m", "benchmarks.gpu_check.host_path", "--steps", "0")
    assert done.returncode == 2
    assert "--steps must be at least 1, got 0" in done.stderr
