"""`make gpu-check` checks every kernel, or says what it did not check."""

from __future__ import annotations

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


def test_the_check_launches_every_kernel() -> None:
    program = (
        "from benchmarks.gpu_check import check, triton;"
        "noted, wrong = check.record_all(['sm_90'], False);"
        "print(len(noted) > 50, wrong, triton.unlaunched(noted))"
    )
    done = run("-c", program)
    assert done.stdout.strip() == "True [] []", done.stderr
