"""libmesm_ops alone, loaded by a process that never imports the package, runs every op."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from csrc import build
from mesm_ops import _C, SparseCrossModalBlock, SparseFeatureMaps
from mesm_ops.ops.schemas import signatures
from tests.csrc.cpu import calls

LIBRARY = Path(_C.__file__).with_name(build.LIBRARY)
ALONE = """
import sys, torch
torch.ops.load_library(sys.argv[1])
for name, given, wanted in torch.load(sys.argv[2]):
    found = getattr(torch.ops.mesm_ops, name)(*given)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
assert "mesm_ops" not in sys.modules
"""
REFUSED = """
import sys, torch
torch.ops.load_library(sys.argv[1])
sites = torch.zeros(1, dtype=torch.int32)
torch.ops.mesm_ops.top_p_select(torch.ones(1, 1), sites, sites, torch.ones(1), 0.0, 1, True)
"""


class Recorder(TorchDispatchMode):
    """Keeps each call of an op, with what Python's dispatch made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, list[Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.namespace == "mesm_ops":
            plain = [arg.detach().clone() if isinstance(arg, torch.Tensor) else arg for arg in args]
            kept = tuple(t.detach().clone() for t in out) if isinstance(out, tuple) else out.clone()
            self.calls.append((func._opname, plain, kept))
        return out


def op(name: str, *args: Any) -> Any:
    given = [int(arg) if isinstance(arg, calls.Selection) else arg for arg in args]
    return getattr(torch.ops.mesm_ops, name)(*given)


def alone(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, str(LIBRARY), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def test_every_op_gives_the_same_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with Recorder() as recorder:
        for dtype in (torch.float32, torch.bfloat16):
            calls.all_calls(op, calls.SHAPES[0], dtype)
        for selection in ("weighted", "hard", "straight_through"):
            block = SparseCrossModalBlock(3, 5, 4, 6, selection=selection)
            for training in (True, False):
                maps = torch.randn(3, 3, 7, 8).transpose(2, 3)
                x = SparseFeatureMaps.from_dense(maps, torch.rand(3, 8, 7) < 0.6)
                out = block.train(training)(x, torch.randn(2, 4), torch.tensor([1, 2]))
                out.features.square().sum().backward()
    assert {name for name, _, _ in recorder.calls} == {one.name for one in signatures()}
    torch.save(recorder.calls, tmp_path / "calls.pt")
    done = alone(ALONE, str(tmp_path / "calls.pt"))
    assert done.returncode == 0, done.stderr


def test_bad_input_is_refused_by_the_kernels() -> None:
    done = alone(REFUSED)
    assert done.returncode == 1
    assert "top_p_select: p must be in (0, 1], got 0" in done.stderr


def test_the_library_needs_no_python() -> None:
    names = subprocess.run(
        ["nm", "-D", "--undefined-only", LIBRARY], capture_output=True, text=True, check=True
    )
    assert "aoti_torch" in names.stdout
    assert [line for line in names.stdout.splitlines() if " Py" in line or " _Py" in line] == []


def test_a_library_of_other_schemas_is_refused() -> None:
    from mesm_ops.ops.registration import _define

    with pytest.raises(ImportError, match=r"another version of mesm_ops.*make setup"):
        _define("mesm_ops", "top_p_select(Tensor features) -> Tensor")
