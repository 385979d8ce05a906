"""The block-level code under the compiler's sanitizers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_nothing_is_found(compile_for_host: Callable[..., Path], sanitizer: str) -> None:
    flags = ("-O1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-DMESM_HOST_LANES=4")
    try:
        program = compile_for_host("sanitized", *flags)
    except AssertionError as error:
        if "cannot find" in str(error) or "unsupported" in str(error):
            pytest.skip(f"the compiler came without its {sanitizer} sanitizer")
        raise
    # A preloaded library (a test runner's, say) must not come before the sanitizer's own.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [str(program)], capture_output=True, text=True, check=False, env=environment
    )
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("this kernel's address layout is too new for the thread sanitizer")
    assert done.returncode == 0, done.stderr
