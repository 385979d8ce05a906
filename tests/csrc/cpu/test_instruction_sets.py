"""Each instruction set gives the plain formulas' results, in a process that is forced to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mesm_ops import _C
from tests.csrc.cpu import calls

ROOT = Path(__file__).parents[3]
ORDER = ["portable", "avx2", "avx512", "avx512bf16"]
CHECK = """
import torch, sys
from mesm_ops import _C
from tests.csrc.cpu import calls
assert _C.cpu_capability() == sys.argv[1], _C.cpu_capability()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
for dtype in calls.TOLERANCES:
    for shape in calls.SHAPES:
        for difference in calls.differences(shape, dtype):
            print(dtype, shape, difference)
"""


def run_forced(name: str, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, name],
        cwd=ROOT,
        env={**os.environ, "MESM_OPS_CPU": name},
        capture_output=True,
        text=True,
        check=False,
    )


def runs_here(name: str) -> bool:
    """The machine's instruction sets by its own flags; the library finds out in another way."""
    if name == "portable":
        return True
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    avx512 = ["avx512f", "avx512bw", "avx512vl", "avx512dq"]
    needed = {"avx2": ["avx2", "fma"], "avx512": avx512, "avx512bf16": [*avx512, "avx512_bf16"]}
    return all(flag in flags for flag in needed[name])


@pytest.mark.parametrize("name", ORDER)
def test_forced_results_are_the_formulas(name: str) -> None:
    done = run_forced(name, CHECK)
    if runs_here(name):
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    else:
        assert f"MESM_OPS_CPU={name}: this machine or this build does not have it" in done.stderr


def test_the_best_is_chosen_by_itself() -> None:
    if os.environ.get("MESM_OPS_CPU"):
        assert _C.cpu_capability() == os.environ["MESM_OPS_CPU"]
    else:
        assert _C.cpu_capability() == [name for name in ORDER if runs_here(name)][-1]


def test_an_unknown_name_is_refused() -> None:
    done = run_forced("sse9", "from mesm_ops import _C; import torch; _C.cpu_capability()")
    assert (
        'MESM_OPS_CPU must be portable, avx2, avx512 or avx512bf16, or unset, got "sse9"'
        in done.stderr
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_within_two_units_in_the_last_place(dtype: torch.dtype) -> None:
    magnitudes = torch.logspace(-30, 2, 20_000, dtype=torch.float64)
    near_one = torch.linspace(0.5, 10, 20_000, dtype=torch.float64)
    x = torch.cat([magnitudes, near_one, torch.tensor([0.0, 1e30, torch.inf])])
    x = torch.cat([x, -x]).to(dtype)
    one, none = torch.ones(1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
    offsets = torch.tensor([0, x.shape[0]], dtype=torch.int32)
    # One channel and one hidden unit with weight 1: the logit is the tanh.
    args = (x[:, None], offsets, none, None, one, none[0], none, one, none[0])
    got = calls.cpp("cross_modal_score", *args)
    wanted = torch.tanh(x.double())
    unit = torch.finfo(dtype).eps * 2.0 ** wanted.abs().clamp(min=1e-300).log2().floor()
    assert float(((got.double() - wanted).abs() / unit).max()) <= (2 if dtype.itemsize == 4 else 4)
    nan = calls.cpp("cross_modal_score", x[:, None] * torch.nan, *args[1:])
    assert nan.isnan().all()
