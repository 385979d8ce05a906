"""Contents of wheel and sdist without a compiler; `make wheel` builds and runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

import mesm_ops
from tests import build_matrix, wheel

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = ROOT / ".github" / "workflows" / "wheels.yml"


@pytest.fixture(scope="module")
def uncompiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel without kernels, of this folder."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(place)]
    command += ["build", "--build-base", str(place / "build")]
    command += ["bdist_wheel", "--dist-dir", str(place)]
    environment = {**os.environ, "MESM_OPS_CPP": "0"}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    (made,) = place.glob("*.whl")
    return made


def test_a_wheel_holds_the_packages_and_nothing_else(uncompiled: Path) -> None:
    names = wheel.contents(uncompiled)
    assert wheel.unwanted(names) == []
    assert wheel.lacking(names, compiled=False) == []
    assert wheel.lacking(names) == ["mesm_ops/libmesm_ops.so", "mesm_ops/_C.*.so"]
    assert uncompiled.name.endswith("-py3-none-any.whl")
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_what_does_not_belong_into_a_wheel_is_named() -> None:
    good = ["mesm/demo.py", "mesm_ops/_C.cpython-313-x86_64-linux-gnu.so"]
    good += ["mesm-0.1.0.dist-info/RECORD", "mesm-0.1.0+cu130.dist-info/RECORD"]
    bad = ["tests/wheel.py", "csrc/build.py", "mesm_ops/op_schemas.h", "docs/index.md"]
    bad += ["mesm.libs/libtorch.so", "mesm/__pycache__/demo.cpython-311.pyc", "mesmer/x.py"]
    assert wheel.unwanted([*good, *bad]) == bad


def test_a_source_distribution_has_what_a_build_reads_and_no_tests(tmp_path: Path) -> None:
    with tarfile.open(wheel.build_sdist(tmp_path)) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert wheel.lacking(names, compiled=False) == []
    assert {"pyproject.toml", "setup.py", "LICENSE", "README.md", "csrc/build.py"} <= names
    tops = {name.partition("/")[0] for name in names if "/" in name}
    assert tops == {"mesm", "mesm_ops", "csrc"}
    assert not [name for name in names if name.endswith((".so", ".pyc", ".o"))]


def test_the_libraries_find_each_other_wherever_they_lie() -> None:
    assert wheel.wrong_links(Path(mesm_ops.__file__).parent) == []


def test_a_library_that_looks_elsewhere_is_named(tmp_path: Path) -> None:
    source = tmp_path / "empty.c"
    source.write_text("")
    for name in ("_C.x.so", "libmesm_ops.so"):
        command = ["cc", "-shared", f"-Wl,-rpath,{tmp_path}", str(source), "-o"]
        subprocess.run([*command, str(tmp_path / name)], check=True)
    found = wheel.wrong_links(tmp_path)
    assert [line.partition(" ")[0] for line in found] == ["_C.x.so", "libmesm_ops.so"]
    assert all(str(tmp_path) in line for line in found)


def named(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert found is not None, requirement
    return found[0].lower().replace("_", "-")


def test_torch_is_the_only_dependency() -> None:
    assert [named(line) for line in PROJECT["dependencies"]] == ["torch"]


def test_each_package_of_an_extra_is_pinned_for_the_tests() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {named(line) for line in lines if not line.startswith("#")}
    extras = PROJECT["optional-dependencies"]
    assert {"experiment", "features", "web", "onnx", "dev"} <= set(extras)
    for extra, lines in extras.items():
        assert {named(line) for line in lines} <= pinned, extra


def test_wheels_are_built_for_each_python_that_is_allowed() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    job = workflow["jobs"]["wheels"]
    kinds = {(row["machine"], row["kernels"]) for row in job["strategy"]["matrix"]["include"]}
    assert kinds == {(m, k) for m in ("x86_64", "aarch64") for k in ("cpu", "cuda")}
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert versions[0] == PROJECT["requires-python"].removeprefix(">=")
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
    asked = built["build"].split()
    assert asked == [f"cp{version.replace('.', '')}-manylinux_*" for version in versions]


def test_the_torch_that_is_built_with_is_one_of_those_that_are_checked() -> None:
    assert wheel.built_with() in build_matrix.TORCHES
    assert f"torch=={wheel.built_with()}" in (ROOT / "constraints.txt").read_text().splitlines()
