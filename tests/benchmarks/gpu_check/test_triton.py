"""Kernels that a launcher launches are compiled, and none is run."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.gpu_check.uninterpreted import run

# A kernel with a dot, and a launcher whose tensors are too small for it: running it would show.
KERNEL = """
import torch, triton, triton.language as tl
from mesm_ops.triton.parts import choice

@triton.jit
def square(x, out, rows, BLOCK: tl.constexpr):
    row = tl.arange(0, BLOCK)
    tile = tl.load(x + row[:, None] * BLOCK + row[None, :])
    tl.store(out + row[:, None] * BLOCK + row[None, :], tl.dot(tile, tile))

def launch(x):
    out = torch.empty(4, 4, dtype=torch.float32)
    found = choice.choose("convolution", x, 64, 64)
    square[(x.shape[0],)](x, out, x.shape[0], 64 if found.hopper else 32, num_warps=4)
    return out
"""
PROGRAM = """
from functools import partial
from unittest import mock
import torch
import kernels
from benchmarks.gpu_check import triton as check

with mock.patch.object(check, "modules", lambda: [kernels]):
    launch = partial(kernels.launch, torch.zeros(1 << 20, 2, dtype=torch.bfloat16))
    launches = check.record("square", launch, "sm_90")
    again = check.record("square", launch, "sm_90")
assert [one.key() for one in launches] == [one.key() for one in again]
for launch in {one.key(): one for one in launches}.values():
    row = check.compile_launch(launch)
    print(row.arch, row.variant, row.threads, sorted(row.tensor), row.wants_tensor, row.failure())
"""


def test_every_choice_of_a_triton_kernel_is_compiled_and_none_is_run(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(KERNEL)
    done = run("-c", PROGRAM, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.splitlines())
    # Triton takes wgmma for 64 rows, the older instruction for fewer.
    assert lines == [
        "sm_90 bf16/fp32 BLOCK=32 w4 128 ['HMMA'] True None",
        "sm_90 bf16/fp32 BLOCK=64 w4 128 ['HGMMA'] True None",
    ]
