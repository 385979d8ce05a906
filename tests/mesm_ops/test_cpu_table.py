"""docs/block.md says of every op, layer and dtype what a CPU does with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mesm_ops import subm_conv2d
from tests.mesm_ops import cpu_table


def test_the_document_holds_what_was_tried() -> None:
    assert cpu_table.written() == cpu_table.table(), "run python -m tests.mesm_ops.cpu_table"


def test_a_wrong_result_has_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    run = cpu_table._ops(torch.float16)["`subm_conv2d`"]
    monkeypatch.setattr(
        cpu_table.mesm_ops,
        "subm_conv2d",
        lambda x, *given: x.with_features(
            subm_conv2d(x, *given).features * (1.5 if x.dtype is torch.float16 else 1)
        ),
    )
    with pytest.raises(AssertionError, match="off by"):
        cpu_table.cell(run, torch.float16)


@pytest.mark.parametrize(("message", "refused"), [("subm_conv2d: no", True), ("no", False)])
def test_a_refusal_must_name_the_op(message: str, refused: bool) -> None:
    def run(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        raise RuntimeError(message)

    if refused:
        assert cpu_table.cell(run, torch.float32) == "refused"
    else:
        with pytest.raises(AssertionError, match="names no op"):
            cpu_table.cell(run, torch.float32)
