from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

import csrc.build


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill fresh memory with NaN (or the greatest integer), so that unwritten memory is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """How csrc is compiled."""
    return csrc.build
