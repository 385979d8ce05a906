"""The block-level code under the compiler's sanitizers."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("sanitizer", "lanes"), [("address,undefined", 1), ("address,undefined", 4), ("thread", 4)]
)
def test_nothing_is_found(run_sanitized: Callable[..., None], sanitizer: str, lanes: int) -> None:
    run_sanitized("sanitized", sanitizer, f"-DMESM_HOST_LANES={lanes}")
