"""How the extension is built, and that no instruction leaks out of where it may run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from setuptools.errors import CompileError, PlatformError

from mesm_ops import _C


def symbols(path: Path, *options: str) -> list[str]:
    nm = shutil.which("nm")
    assert nm is not None, "nm is missing: install binutils, which the compiler needs too"
    run = subprocess.run(
        [nm, "-C", *options, str(path)], capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()


def test_facts() -> None:
    facts = _C.build_info()
    assert facts["compiler"] in ("gcc", "clang")
    assert int(facts["cxx_standard"].rstrip("L")) >= 202002
    assert facts["torch_target_version"] == "0x020a000000000000"
    assert facts["torch_version_built_with"]
    assert facts["isas_compiled"].startswith("portable")
    assert facts["cuda"] in ("yes", "no")
    assert "-std" not in facts["flags"]
    assert "-O3" in facts["flags"]


@pytest.fixture(scope="module")
def units(build: ModuleType) -> list:
    """All object files, compiled now if they are not up to date."""
    torch_facts = build.find_torch()
    units = build.cpu_units(torch_facts, build.objects_folder(torch_facts), cuda=False)
    build.compile_all(units)
    return units


def test_kernels_share_nothing_between_instruction_sets(build: ModuleType, units: list) -> None:
    """The linker keeps one copy of a weak symbol: it must not come from an AVX-512 object."""
    kernels = [unit for unit in units if unit.source.parent.name == "cpu"]
    ops = {path.stem for path in (build.CSRC / "cpu").glob("*.cpp")}
    assert len(kernels) == len(ops) * len(build.ISA_FLAGS) >= 5
    for unit in kernels:
        op, isa = unit.target.name.split(".")[:2]
        defined = [line.split(maxsplit=2)[1:] for line in symbols(unit.target, "--defined-only")]
        shared = [name for kind, name in defined if kind not in "tdrb"]
        assert shared == [f"mesm_ops::{isa}::{op}"], unit.target.name


def test_only_stable_symbols_are_used() -> None:
    """Another torch than the one compiled against must be able to load the module."""
    undefined = symbols(Path(_C.__file__), "-D", "--undefined-only")
    foreign = [line for line in undefined if any(ns in line for ns in ("at::", "c10::", "torch::"))]
    assert foreign == []
    assert any("torch_parallel_for" in line for line in undefined)


def test_a_second_build_compiles_nothing_and_a_touched_header_its_users(
    build: ModuleType, units: list, tmp_path: Path
) -> None:
    assert all(build.is_current(unit) for unit in units)
    header, source = tmp_path / "answer.h", tmp_path / "answer.cpp"
    header.write_text("inline int answer() { return 42; }\n")
    source.write_text('#include "answer.h"\nint asked() { return answer(); }\n')
    command = (*build.find_compiler(), "-std=c++20")
    unit = build.Unit(source, tmp_path / "answer.o", command)
    build.compile_unit(unit)
    assert build.is_current(unit)
    assert not build.is_current(build.Unit(source, unit.target, (*command, "-O2")))
    later = unit.target.stat().st_mtime_ns + 10**9
    os.utime(header, ns=(later, later))
    assert not build.is_current(unit)


def test_a_source_that_does_not_compile_leaves_the_old_object(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    source, target = tmp_path / "wrong.cpp", tmp_path / "wrong.o"
    source.write_text("int f() { return nothing; }\n")
    target.write_bytes(b"old")
    with pytest.raises(CompileError, match=r"wrong\.cpp does not compile: .*nothing"):
        build.compile_unit(build.Unit(source, target, (*build.find_compiler(), "-std=c++20")))
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".o") == ["wrong.o"]


def test_no_compiler_is_said_in_one_line(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        PlatformError, match=r"no C\+\+ compiler found .*apt install g\+\+"
    ) as error:
        build.find_compiler()
    assert "\n" not in str(error.value)


def test_an_old_compiler_is_said_in_one_line(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "old-g++"
    old.write_text("#!/bin/sh\necho unknown option -std=c++20 >&2\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("CXX", str(old))
    with pytest.raises(PlatformError, match=r"old-g\+\+ does not compile C\+\+20") as error:
        build.find_compiler()
    assert "\n" not in str(error.value)


def test_no_torch_is_said_in_one_line(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(PlatformError, match=r"torch is needed .* leave out --no-build-isolation"):
        build.find_torch()
    monkeypatch.delenv("MESM_OPS_CUDA", raising=False)
    assert not build.wants_cuda()


def test_cuda_is_asked_for_by_name(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESM_OPS_CUDA", "0")
    assert not build.wants_cuda()
    monkeypatch.setenv("MESM_OPS_CUDA", "1")
    assert [ext.name for ext in build.extensions()] == ["mesm_ops._C", "mesm_ops._cuda"]
    monkeypatch.setattr(build, "find_nvcc", lambda: None)
    with pytest.raises(PlatformError, match="nvcc is not found"):
        build.cuda_units(build.find_torch(), Path("objects"))
    monkeypatch.setenv("MESM_OPS_CUDA", "maybe")
    with pytest.raises(PlatformError, match="MESM_OPS_CUDA must be 0, 1 or unset, got 'maybe'"):
        build.wants_cuda()
    monkeypatch.setenv("MESM_OPS_CUDA", "")
    assert build.wants_cuda() == (torch.version.cuda is not None and build.find_nvcc() is not None)


def test_the_kernels_can_be_left_out(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESM_OPS_CPP", "0")
    assert build.extensions() == []
