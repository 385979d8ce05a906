"""The build of the extension; no instruction leaks into code for machines without it."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from setuptools.errors import CompileError, PlatformError

from csrc.build import LIBRARY
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
def objects(build: ModuleType) -> Path:
    """The folder of all objects, compiled now unless up to date."""
    torch_facts = build.find_torch()
    folder = build.objects_folder(torch_facts)
    with build.locked(folder):
        build.write_ninja(torch_facts, folder, cuda=False)
        build.run_ninja(folder)
    return folder


def test_kernels_share_nothing_between_instruction_sets(build: ModuleType, objects: Path) -> None:
    """The linker keeps one copy of a weak symbol: it must not come from an AVX-512 object."""
    ops = [path.stem for path in (build.CSRC / "cpu" / "kernels").glob("*.cpp")]
    assert len(ops) >= 5
    for op, isa in itertools.product(ops, build.ISA_FLAGS):
        compiled = objects / "cpu" / "kernels" / f"{op}.{isa}.o"
        defined = [line.split(maxsplit=2)[1:] for line in symbols(compiled, "--defined-only")]
        shared = [name for kind, name in defined if kind not in "tdrb"]
        assert shared == [f"mesm_ops::{isa}::{op}"], compiled.name


def test_only_stable_symbols_are_used(build: ModuleType) -> None:
    """Another torch than the one compiled against must be able to load the library."""
    library = Path(_C.__file__).with_name(build.LIBRARY)
    undefined = symbols(library, "-D", "--undefined-only")
    foreign = [line for line in undefined if any(ns in line for ns in ("at::", "c10::", "torch::"))]
    assert foreign == []
    assert any("torch_parallel_for" in line for line in undefined)


class Tree:
    """A small csrc of its own, with a build that lists the targets made."""

    def __init__(self, root: Path, build: ModuleType, output: pytest.CaptureFixture[str]) -> None:
        self.root, self.build, self.output = root, build, output
        self.folder = root / "objects"
        self.write("csrc/cpu/answer.h", "inline int answer() { return 42; }")
        self.write("csrc/cpu/asks.cpp", '#include "answer.h"\nint asked() { return answer(); }')
        self.write("csrc/cpu/alone.cpp", "int alone() { return 1; }")
        self.write("csrc/library.cpp", "int library() { return 2; }")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def make(self) -> set[str]:
        with self.build.locked(self.folder):
            self.build.write_ninja(self.build.find_torch(), self.folder, cuda=False)
            self.output.readouterr()
            self.build.run_ninja(self.folder)
        lines = self.output.readouterr().out.splitlines()
        return {line.rsplit("/", 1)[1] for line in lines if line.startswith("[")}


@pytest.fixture
def tree(
    tmp_path: Path,
    build: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Tree:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "CSRC", tmp_path / "csrc")
    monkeypatch.setattr(build, "SCHEMAS", tmp_path / "mesm_ops" / "ops" / "schemas.py")
    return Tree(tmp_path, build, capsys)


def test_a_second_build_makes_only_what_is_out_of_date(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tree.make() == {"asks.o", "alone.o", "library.o", LIBRARY, "_C.so"}
    assert tree.make() == set()
    tree.write("csrc/cpu/answer.h", "inline int answer() { return 43; }")
    assert tree.make() == {"asks.o", LIBRARY}
    tree.write("csrc/cpu/new.cpp", "int fresh() { return 3; }")
    assert tree.make() == {"new.o", LIBRARY}
    monkeypatch.setenv("MESM_OPS_CXXFLAGS", "-O1")
    assert tree.make() == {"asks.o", "alone.o", "new.o", "library.o", LIBRARY, "_C.so"}
    assert tree.make() == set()


def test_a_source_that_does_not_compile_is_named(tree: Tree) -> None:
    tree.make()
    before = (tree.folder / LIBRARY).read_bytes()
    tree.write("csrc/cpu/alone.cpp", "int alone() { return nothing; }")
    for _ in range(2):
        with pytest.raises(CompileError, match=r"^csrc/cpu/alone\.cpp:1:.*error.*nothing"):
            tree.make()
    assert (tree.folder / LIBRARY).read_bytes() == before
    tree.write("csrc/cpu/alone.cpp", "int alone() { return 1; }")
    assert tree.make() == {"alone.o", LIBRARY}


def test_schemas_are_written_into_a_header_when_an_op_changes(tree: Tree) -> None:
    tree.write("mesm_ops/ops/schemas.py", "print('#define SCHEMAS')")
    tree.write("mesm_ops/reference/op.py", "x = 1")
    assert "op_schemas.h" in tree.make()
    assert (tree.folder / "op_schemas.h").read_text() == "#define SCHEMAS\n"
    assert tree.make() == set()
    tree.write("mesm_ops/reference/op.py", "x = 2")
    assert tree.make() == {"op_schemas.h"}
    tree.write("csrc/cpu/reads.cpp", '#include "op_schemas.h"\nint reads() { return 0 SCHEMAS; }')
    assert tree.make() == {"reads.o", LIBRARY}
    tree.write("mesm_ops/ops/schemas.py", "print('#define SCHEMAS + 1')")
    assert tree.make() == {"op_schemas.h", "reads.o", LIBRARY}
    assert tree.make() == set()
    tree.write("mesm_ops/reference/op.py", "x = 3")
    assert tree.make() == {"op_schemas.h"}  # of the same text
    tree.write("mesm_ops/ops/schemas.py", "import nothing")
    with pytest.raises(CompileError, match="No module named 'nothing'"):
        tree.make()


def test_no_compiler_is_said_in_one_line(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "old-g++"
    old.write_text("#!/bin/sh\necho unknown option -std=c++20 >&2\nexit 1\n")
    old.chmod(0o755)
    for compiler in ("no-such-compiler", str(old)):
        monkeypatch.setenv("CXX", compiler)
        wanted = rf"no C\+\+20 compiler found \(tried {re.escape(compiler)}\): .*apt install g\+\+"
        with pytest.raises(PlatformError, match=wanted) as error:
            build.find_compiler()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("package", ["torch", "ninja", "pybind11"])
def test_a_missing_package_is_said_in_one_line(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    wanted = rf"{package} is needed .*leave out --no-build-isolation, or `pip install {package}`"
    with pytest.raises(PlatformError, match=wanted):
        tree.make()


def test_no_nvcc_is_said_in_one_line(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_nvcc", lambda: None)
    with pytest.raises(PlatformError, match="nvcc is not found"):
        build.nvcc_command(build.find_torch())
