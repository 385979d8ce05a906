"""`make build-matrix` takes each torch that is allowed, and finds a symbol that none defines."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

from csrc import build
from tests import build_matrix

ROOT = Path(__file__).parents[1]

SOURCE = """
#include <string>
extern "C" void aoti_torch_defined(const char*);
extern "C" void aoti_torch_missing(const char*);
extern "C" void* PyLong_FromLong(long);
extern "C" void* call(int number) {
  const std::string text = std::to_string(number);
  aoti_torch_defined(text.c_str());
  aoti_torch_missing(text.c_str());
  return PyLong_FromLong(number);
}
"""


def compile_library(folder: Path, name: str, text: str) -> Path:
    source, library = folder / f"{name}.cpp", folder / f"{name}.so"
    source.write_text(text)
    command = [*build.find_compiler(), "-shared", "-fPIC", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


def test_symbols_that_only_torch_can_define_are_found(tmp_path: Path) -> None:
    torch = compile_library(tmp_path, "torch", 'extern "C" void aoti_torch_defined(const char*) {}')
    module = compile_library(tmp_path, "module", SOURCE)
    wanted = build_matrix.open_symbols(module)
    assert wanted == {"aoti_torch_defined", "aoti_torch_missing"}
    assert wanted - build_matrix.symbols(torch, "--defined-only") == {"aoti_torch_missing"}


def test_every_minor_version_that_is_allowed_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (required,) = (name for name in project["dependencies"] if name.startswith("torch"))
    first, end = (part.removeprefix("2.") for part in required.removeprefix("torch>=").split(",<"))
    allowed = [f"2.{minor}" for minor in range(int(first), int(end))]
    assert [version.rpartition(".")[0] for version in build_matrix.TORCHES] == allowed
