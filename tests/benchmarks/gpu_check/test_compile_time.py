"""The timed step: each kernel of six blocks is compiled once, before the kernel is launched."""

from __future__ import annotations

import re

from tests.benchmarks.gpu_check.uninterpreted import run

# The compiler is replaced: the true one takes a minute.
SCRIPT = """
from collections import Counter
from types import SimpleNamespace
from unittest import mock

import triton.compiler
from benchmarks.gpu_check import compile_time

compiled, launched = Counter(), Counter()

def compile(src, target, options, _env_vars=None):
    key = (src.fn.__name__, str(src.signature), str(src.constants), str(src.attrs), str(options))
    compiled[key] += 1
    assert target.arch == 90
    return SimpleNamespace(
        run=lambda *_: launched.update([key]), function=0, packed_metadata=(),
        launch_metadata=lambda *_: None,
    )

try:
    compile_time.main(["--threads", "0"])
except SystemExit:
    pass
with mock.patch.object(triton.compiler, "compile", compile):
    compile_time.main(["--threads", "3"])
assert set(compiled.values()) == {1}, compiled
assert set(compiled) == set(launched)
print(len(compiled), "compiled")
"""


def test_every_kernel_of_the_step_is_compiled_once() -> None:
    done = run("-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    assert "--threads must be at least 1, got 0" in done.stderr
    assert re.search(r"^3 threads: \d+\.\d s; processor time ", done.stdout, re.MULTILINE)
    said = re.search(r"^(\d+) compiled$", done.stdout, re.MULTILINE)
    assert said is not None
    assert int(said[1]) > 50  # 61 today, of six shapes
