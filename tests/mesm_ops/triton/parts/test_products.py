from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mesm_ops.triton.parts.products import precision


@pytest.fixture
def tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    yield
    torch.backends.cuda.matmul.fp32_precision = before


def test_precision_follows_torch(tf32: None) -> None:
    assert precision(torch.float32) == "tf32"
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    assert precision(torch.float32) == "ieee"
    assert precision(torch.bfloat16) == "tf32"
