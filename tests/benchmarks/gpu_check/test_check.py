"""`make gpu-check` checks every kernel, or says what it did not check."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.gpu_check.uninterpreted import run


def test_without_nvcc_it_says_what_was_not_checked() -> None:
    program = (
        "import sys; from unittest import mock; from benchmarks.gpu_check import check, cuda\n"
        "sys.argv = ['gpu_check', '--only', 'cuda']\n"
        "with mock.patch.object(cuda, 'find_nvcc', lambda: None): check.main()\n"
    )
    done = run("-c", program)
    assert done.returncode == 1
    assert "nvcc is not found" in done.stdout
    assert "sparse_max_pool2d.cu" in done.stdout


def test_a_name_that_no_kernel_has_fails() -> None:
    done = run("-m", "benchmarks.gpu_check", "--kernel", "nosuch", "--only", "cuda")
    assert done.returncode == 1
    assert "nothing to check" in done.stdout


VERSIONS = ("3.6.0", "3.9.0")
RECORD = f"""
import json, triton
from benchmarks.gpu_check import check, triton as checked
check.FRAMES = 16  # as many launches as of 512 frames, in a tenth of the time
for version in {VERSIONS}:
    triton.__version__ = version
    noted, wrong = check.record_all(["sm_90"], False)
    kept = [launch for launch in noted if "convolution_hopper" not in launch.name]
    print(json.dumps({{
        "names": [launch.name for launch in noted],
        "wrong": wrong,
        "unlaunched": checked.unlaunched(noted),
        "without one": checked.unlaunched(kept),
    }}))
"""


@pytest.fixture(scope="module")
def recorded() -> dict[str, dict[str, list[str]]]:
    """By version of Triton: names of the launches, errors, and kernels that nothing launched."""
    done = run("-c", RECORD)
    assert done.returncode == 0, done.stderr
    return dict(zip(VERSIONS, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_check_launches_every_kernel_that_the_version_of_triton_has(
    version: str, recorded: dict[str, dict[str, list[str]]]
) -> None:
    found = recorded[version]
    assert found["wrong"] == []
    assert found["unlaunched"] == []
    assert len(found["names"]) > 50
    assert any("_hopper" in name for name in found["names"]) == (version == "3.6.0")


def test_a_kernel_that_nothing_launches_is_named(
    recorded: dict[str, dict[str, list[str]]],
) -> None:
    assert recorded["3.6.0"]["without one"] == ["parts.convolution_hopper.convolve_kernel"]


def test_ctrl_c_ends_at_once_and_workers_say_nothing() -> None:
    program = (
        "import os, signal, time; from benchmarks.gpu_check import check\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def interrupt(parent):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"  # as a terminal sends the signal to all
        "    os.kill(parent, signal.SIGINT)\n"
        "    time.sleep(600)\n"
        "jobs = [('a', interrupt, (os.getpid(),)), ('b', time.sleep, (600,))]\n"
        "check.check = lambda arguments: check.run(jobs, 2)\n"
        "import sys; sys.argv = ['gpu_check']; check.main()"
    )
    done = run("-c", program)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "stopped; nothing was written\n"
