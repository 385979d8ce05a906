"""Block-level code of csrc/cuda, compiled for the host."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def compile_for_host(
    build: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Compile tests/csrc/cuda/<name>.cpp with further flags; return the output's path."""

    def compile_one(name: str, *flags: str) -> Path:
        target = tmp_path_factory.mktemp(name) / name
        common = ("-std=c++20", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror")
        include = ("-I", str(build.CSRC / "cuda"), "-I", str(HERE))
        command = [*build.find_compiler(), *common, *include, *flags]
        run = [*command, str(HERE / f"{name}.cpp"), "-o", str(target)]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return target

    return compile_one


@pytest.fixture(scope="session")
def run_sanitized(compile_for_host: Callable[..., Path]) -> Callable[..., None]:
    """Compile a program with a sanitizer, and check that the program runs clean."""

    def run(name: str, sanitizer: str, *flags: str) -> None:
        checks = ("-O0", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all")
        program = str(compile_for_host(name, *checks, *flags))
        # A preloaded library (a test runner's, say) must not come before the sanitizer's own.
        kept = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        for command in ([program], ["setarch", "-R", program]):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept)
            # Randomised addresses of a newer kernel do not suit an older thread sanitizer.
            if "unexpected memory mapping" not in done.stderr:
                break
        assert done.returncode == 0, done.stderr[:4000]

    return run


@pytest.fixture(scope="session")
def load_for_host(compile_for_host: Callable[..., Path]) -> Callable[..., ctypes.CDLL]:
    """Compile tests/csrc/cuda/<name>.cpp, its warps of so many lanes, to a library and load it."""

    @functools.cache
    def load(name: str, lanes: int = 1) -> ctypes.CDLL:
        flags = ("-shared", "-fPIC", f"-DMESM_HOST_LANES={lanes}")
        return ctypes.CDLL(str(compile_for_host(name, *flags)))

    return load
