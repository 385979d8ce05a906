"""The operators of torch that count as computing."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts.listener import computes

aten = torch.ops.aten


@pytest.mark.parametrize("func", [aten.add_.Tensor, aten.fill_.Scalar, aten._local_scalar_dense])
def test_what_reads_or_writes_computes(func: object) -> None:
    assert computes(getattr(func, "default", func))


@pytest.mark.parametrize("func", [aten.empty.memory_format, aten.new_empty.default, aten.view])
def test_memory_and_views_do_not(func: object) -> None:
    assert not computes(getattr(func, "default", func))
