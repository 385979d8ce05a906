"""`make gpu-check` checks every kernel, or says what it did not check."""

from __future__ import annotations

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


@pytest.mark.parametrize("version", ["3.6.0", "3.9.0"])
def test_the_check_launches_every_kernel_that_the_version_of_triton_has(version: str) -> None:
    program = (
        f"import triton; triton.__version__ = '{version}';"
        "from benchmarks.gpu_check import check, triton;"
        "noted, wrong = check.record_all(['sm_90'], False);"
        "hopper = any('_hopper' in launch.name for launch in noted);"
        "print(len(noted) > 50, hopper, wrong, triton.unlaunched(noted))"
    )
    done = run("-c", program)
    assert done.stdout.strip() == f"True {version == '3.6.0'} [] []", done.stderr


def test_a_kernel_that_nothing_launches_is_named() -> None:
    program = (
        "from benchmarks.gpu_check import check, triton;"
        "noted, _ = check.record_all(['sm_90'], False);"
        "kept = [launch for launch in noted if 'convolution_hopper' not in launch.name];"
        "print(triton.unlaunched(kept))"
    )
    done = run("-c", program)
    assert done.stdout.strip() == "['parts.convolution_hopper.convolve_kernel']", done.stderr


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
