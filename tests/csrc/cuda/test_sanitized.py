"""The block-level code under the compiler's sanitizers."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_nothing_is_found(run_sanitized: Callable[..., None], sanitizer: str) -> None:
    run_sanitized("sanitized", sanitizer, "-DMESM_HOST_LANES=4")
