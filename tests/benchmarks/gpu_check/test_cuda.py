"""CUDA sources compile for GPUs that are not there, and what the compiler says is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from setuptools.errors import PlatformError

from benchmarks.gpu_check import cuda
from benchmarks.gpu_check.cuda import find_nvcc
from benchmarks.gpu_check.report import Compiled


def compiled(source: Path, arch: str) -> list[Compiled]:
    """Compile with nvcc; without one, none, after a refusal that names it."""
    if find_nvcc() is not None:
        rows = cuda.compile_source(source, arch)
        assert rows
        return rows
    with pytest.raises(PlatformError, match="nvcc is not found"):
        cuda.compile_source(source, arch)
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
