"""The result of `pip install`, by its environment variables."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch
from setuptools.errors import PlatformError

from csrc import build

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    """setup.py as a module."""
    spec = spec_from_file_location("mesm_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cuda_is_asked_for_by_name(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESM_OPS_CUDA", "0")
    assert not setup.wants_cuda()
    monkeypatch.setenv("MESM_OPS_CUDA", "1")
    assert [ext.name for ext in setup.extensions()] == ["mesm_ops._C", "mesm_ops._cuda"]
    monkeypatch.setenv("MESM_OPS_CUDA", "maybe")
    with pytest.raises(PlatformError, match="MESM_OPS_CUDA must be 0, 1 or unset, got 'maybe'"):
        setup.wants_cuda()


def test_cuda_is_built_where_torch_has_it_and_nvcc_is_there(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESM_OPS_CUDA", "")
    assert setup.wants_cuda() == (torch.version.cuda is not None and build.find_nvcc() is not None)
    monkeypatch.setattr(build, "find_nvcc", lambda: "nvcc")
    for cuda in ("13.0", None):
        found = build.Torch(Path("torch"), "2.11.0", cuda)
        monkeypatch.setattr(build, "find_torch", lambda found=found: found)
        assert setup.wants_cuda() == (cuda is not None)
    monkeypatch.setitem(sys.modules, "torch", None)  # the build of mesm_ops._C says so
    assert not setup.wants_cuda()


def test_the_kernels_can_be_left_out(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESM_OPS_CPP", "0")
    assert setup.extensions() == []


def test_a_source_distribution_has_all_of_csrc(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    command += ["sdist", "--dist-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    kinds = {".py", ".cpp", ".h", ".cu", ".cuh"}
    files = [path for path in (ROOT / "csrc").rglob("*.*") if path.suffix in kinds]
    assert len(files) > 30
    assert {str(path.relative_to(ROOT)) for path in files} <= names


def test_the_measured_choices_and_the_demo_model_are_shipped(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    command += ["build_py", "--build-lib", str(tmp_path / "lib")]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for folder in ("mesm_ops/triton/configs", "mesm/demo_model"):
        shipped = {path.name for path in (tmp_path / "lib" / folder).iterdir()}
        assert shipped == {path.name for path in (ROOT / folder).iterdir()} != set()


def test_a_file_is_replaced_not_changed(setup: ModuleType, tmp_path: Path) -> None:
    built, target = tmp_path / "built.so", tmp_path / "package" / "_C.so"
    built.write_text("old")
    setup.replace(built, target)
    with target.open() as running:
        built.write_text("new")
        setup.replace(built, target)
        assert running.read() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["_C.so"]
