"""`make bounds` runs a training step and says so; a kernel that leaves a tensor ends it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("the interpreter is for machines without a GPU", allow_module_level=True)

from triton.runtime.errors import InterpreterError

from tests import bounds

block = importlib.import_module("mesm_ops.triton.sparse_cross_modal_block")


def test_a_step_stays_inside_its_tensors(capsys: pytest.CaptureFixture[str]) -> None:
    bounds.run(bounds.shape_of("4x5x4"), 2, 0.5)
    assert "4→5 at 4×4, 2 frames, p = 0.5: " in capsys.readouterr().out


def test_a_tensor_that_is_too_short_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = block.norm_rows

    def short(x: Any, number: Any, norm: Any, out: torch.Tensor) -> None:
        right(x, number, norm, out[:1])

    monkeypatch.setattr(block, "norm_rows", short)
    with pytest.raises(InterpreterError, match=r"_norm_rows: store at out\[5\], which has 5"):
        bounds.run((4, 5, 4), 2, 1.0)


@pytest.mark.parametrize("text", ["64x128", "64x128x", "64x0x24", "axbxc"])
def test_a_shape_is_three_numbers(text: str) -> None:
    with pytest.raises(bounds.argparse.ArgumentTypeError, match="CINxCOUTxSIDE"):
        bounds.shape_of(text)
