"""The kernels compile with clang too, and for arm64: no compiler of this machine would notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCES = sorted((Path(__file__).parents[4] / "csrc" / "cpu" / "kernels").glob("*.cpp"))
CLANG = [sys.executable, "-m", "ziglang", "c++", "-std=c++20", "-O1", "-Wall", "-Wextra"]


def compiles(source: Path, isa: str, *flags: str, out: Path) -> None:
    command = [*CLANG, *flags, f"-DMESM_ISA={isa}", "-c", str(source), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    assert out.stat().st_size > 0


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_for_arm64(source: Path, tmp_path: Path) -> None:
    compiles(source, "portable", "-target", "aarch64-linux-gnu", out=tmp_path / "kernels.o")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_with_clang(source: Path, tmp_path: Path, build: ModuleType) -> None:
    for isa, flags in build.ISA_FLAGS.items():
        target = ("-target", "x86_64-linux-gnu") if flags else ()
        compiles(source, isa, "-Wno-psabi", *target, *flags, out=tmp_path / f"{isa}.o")
