"""`make gpu-check` compiles what a launcher launches, and fails on what must not be shipped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from setuptools.errors import PlatformError

from benchmarks import gpu_check_cuda
from benchmarks.gpu_check_cuda import find_nvcc
from benchmarks.gpu_occupancy import occupancy
from benchmarks.gpu_report import Compiled, read_ptxas, table, tensor_instructions

ROOT = Path(__file__).resolve().parents[2]
LOG = """ptxas info    : Function properties for foo
    {} bytes stack frame, {} bytes spill stores, {} bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0]
"""

# A kernel with a dot, and a launcher whose tensors are too small for it: running it would show.
KERNEL = """
import torch, triton, triton.language as tl

CONFIGS = [triton.Config({"BLOCK": 32}, num_warps=4), triton.Config({"BLOCK": 64}, num_warps=8)]

@triton.autotune(configs=CONFIGS, key=["rows"])
@triton.jit
def square(x, out, rows, BLOCK: tl.constexpr):
    row = tl.arange(0, BLOCK)
    tile = tl.load(x + row[:, None] * BLOCK + row[None, :])
    tl.store(out + row[:, None] * BLOCK + row[None, :], tl.dot(tile, tile))

def launch(x):
    out = torch.empty(4, 4, dtype=torch.float32)
    square[lambda meta: (x.shape[0] // meta["BLOCK"],)](x, out, x.shape[0])
    return out
"""
PROGRAM = """
from unittest import mock
import torch
import kernels
from benchmarks import gpu_check_triton as check
from benchmarks.gpu_calls import Call

with mock.patch.object(check, "modules", lambda: [kernels]):
    x = torch.zeros(1 << 20, 2, dtype=torch.bfloat16)
    launches = check.record(Call("square", "square", (x,)), kernels.launch, "sm_90")
    again = check.record(Call("square", "square", (x,)), kernels.launch, "sm_90")
assert [one.key() for one in launches] == [one.key() for one in again]
for launch in {one.key(): one for one in launches}.values():
    row = check.compile_launch(launch)
    print(row.arch, row.variant, row.threads, sorted(row.tensor), row.wants_tensor, row.failure())
"""


def without_interpreter(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    kept |= {"PYTHONPATH": f"{cwd}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=kept, capture_output=True, text=True, check=False
    )


def test_every_configuration_of_a_triton_kernel_is_compiled_and_none_is_run(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(KERNEL)
    done = without_interpreter("-c", PROGRAM, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.splitlines())
    # Triton takes wgmma for 64 rows, the older instruction for fewer.
    assert lines == [
        "sm_90 bf16/fp32 BLOCK=32 w4 128 ['HMMA'] True None",
        "sm_90 bf16/fp32 BLOCK=64 w8 256 ['HGMMA'] True None",
    ]


def compiled(source: Path, arch: str) -> list[Compiled]:
    """Compile with nvcc; without one, none, after a refusal that names it."""
    if find_nvcc() is not None:
        rows = gpu_check_cuda.compile_source(source, arch)
        assert rows
        return rows
    with pytest.raises(PlatformError, match="nvcc is not found"):
        gpu_check_cuda.compile_source(source, arch)
    return []


def test_cuda_kernels_are_read_from_the_compiler(tmp_path: Path) -> None:
    source = tmp_path / "sum.cu"
    source.write_text(
        """
        // gpu-check: shifted shared=2048
        __global__ void __launch_bounds__(96) shifted(float* x) {
          __shared__ float held[96];
          held[threadIdx.x] = x[threadIdx.x];
          __syncthreads();
          x[threadIdx.x] = held[95 - threadIdx.x];
        }
        template <class T> __global__ void twice(T* x) { *x *= 2; }
        template __global__ void twice<float>(float*);
        // 64 values live in a loop, 32 registers a thread.
        __global__ void __launch_bounds__(1024, 2) crowded(float* x, int n) {
          float held[64];
          for (int i = 0; i < 64; ++i) held[i] = x[i * 1024 + threadIdx.x];
          for (int round = 0; round < n; ++round) {
            for (int i = 0; i < 64; ++i) held[i] = held[i] * held[(i + 1) % 64] + 1;
          }
          for (int i = 0; i < 64; ++i) x[i * 1024 + threadIdx.x] = held[i];
        }
        """
    )
    rows = {row.kernel: row for row in compiled(source, "sm_90a")}
    if not rows:
        return
    assert set(rows) == {"sum.cu: shifted", "sum.cu: twice", "sum.cu: crowded"}
    shifted, twice = rows["sum.cu: shifted"], rows["sum.cu: twice"]
    assert (shifted.threads, shifted.shared, shifted.failure()) == (96, 96 * 4 + 2048, None)
    assert (twice.threads, twice.variant) == (None, "float")
    assert rows["sum.cu: crowded"].spilled > 0
    assert "spills" in str(rows["sum.cu: crowded"].failure())


def test_a_cuda_source_that_does_not_compile_fails(tmp_path: Path) -> None:
    source = tmp_path / "wrong.cu"
    source.write_text("__global__ void f() { nothing(); }")
    for row in compiled(source, "sm_80"):
        assert "does not compile" in str(row.failure())
        assert "nothing" in str(row.failure())


def test_without_nvcc_it_says_what_was_not_checked() -> None:
    program = (
        "import sys; from unittest import mock; from benchmarks import gpu_check, gpu_check_cuda\n"
        "sys.argv = ['gpu_check', '--only', 'cuda']\n"
        "with mock.patch.object(gpu_check_cuda, 'find_nvcc', lambda: None): gpu_check.main()\n"
    )
    done = without_interpreter("-c", program)
    assert done.returncode == 1
    assert "nvcc is not found" in done.stdout
    assert "sparse_max_pool2d.cu" in done.stdout


def test_a_name_that_no_kernel_has_fails() -> None:
    done = without_interpreter("-m", "benchmarks.gpu_check", "--kernel", "nosuch", "--only", "cuda")
    assert done.returncode == 1
    assert "nothing to check" in done.stdout


@pytest.mark.parametrize(
    ("row", "failure"),
    [
        (Compiled("k", "", "sm_90", 40, threads=128), None),
        (Compiled("k", "", "sm_90", 40, threads=128, spilled=8), "spills 8 bytes"),
        (
            Compiled("k", "", "sm_90", 40, threads=128, wants_tensor=True),
            "multiplies matrices without tensor-core instructions",
        ),
        (Compiled("k", "", "sm_90", 9, wants_tensor=True, tensor=Counter(HGMMA=1)), None),
        (
            Compiled("k", "", "sm_120", 40, threads=128, shared=100 << 10),
            "no block fits: 40 registers, 102400 bytes shared",
        ),
        (Compiled("k", "", "sm_80", error="does not compile: x"), "does not compile: x"),
    ],
)
def test_what_fails(row: Compiled, failure: str | None) -> None:
    assert row.failure() == failure
    assert (f"FAILS: {failure}" in table([row])[1]) == (failure is not None)


def test_ptxas_log_and_machine_code() -> None:
    assert read_ptxas(LOG.format(16, 8, 12)) == (40, 16, 20, 1024)
    with pytest.raises(ValueError, match="said nothing of registers"):
        read_ptxas("nothing")
    code = "HGMMA.64x64x16.F32.BF16 R24; HMMA.16816.F32 R4; UTCHMMA gdesc[UR4]; FFMA R1; HMMA.1688"
    assert tensor_instructions(code) == {"HGMMA": 1, "HMMA": 2, "UTCHMMA": 1}


@pytest.mark.parametrize(
    ("arch", "registers", "threads", "shared", "blocks"),
    [
        ("sm_80", 32, 256, 0, 8),  # threads: 2048 / 256
        ("sm_80", 255, 256, 0, 1),  # registers: 65536 / (256 * 256)
        ("sm_90a", 32, 128, 100 << 10, 2),  # shared memory: 228 KiB
        ("sm_90", 32, 32, 0, 32),  # blocks
        ("sm_120", 32, 256, 0, 6),  # threads: 1536 / 256
        ("sm_90", 168, 384, 200 << 10, 1),
        ("sm_90", 32, 128, 228 << 10, 0),  # more than one block may ask for
    ],
)
def test_occupancy(arch: str, registers: int, threads: int, shared: int, blocks: int) -> None:
    found = occupancy(arch, registers, threads, shared)
    assert found.blocks == blocks
    assert found.share == pytest.approx(blocks * threads / (1536 if arch == "sm_120" else 2048))


def test_the_check_launches_every_kernel() -> None:
    program = (
        "from benchmarks import gpu_check, gpu_check_triton as triton;"
        "noted, wrong = gpu_check.record_all(['sm_90'], False);"
        "print(len(noted) > 50, wrong, triton.unlaunched(noted))"
    )
    done = without_interpreter("-c", program)
    assert done.stdout.strip() == "True [] []", done.stderr
