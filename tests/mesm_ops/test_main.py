from __future__ import annotations

import os
import subprocess
import sys

import torch

from mesm_ops import backends, extension
from mesm_ops.__main__ import describe


def test_reports_versions_build_and_each_op() -> None:
    lines = describe().splitlines()
    assert lines[0].startswith("mesm_ops ")
    assert f"torch {torch.__version__}" in lines[1]
    assert lines[2].startswith("GPU: ")
    compiled = extension.module()
    if compiled is not None:
        for name, value in compiled.build_info().items():
            assert f"{name} {value}" in lines[3]
        assert lines[4] == f"Instruction set in use: {compiled.cpu_capability()}"
    for op in backends.ops():
        (line,) = (line for line in lines if line.split()[:1] == [op])
        able = [b for b in backends.BACKENDS if backends.available(op, b) is None]
        assert line.split(maxsplit=1)[1].split(", ") == able
    (line,) = (line for line in lines if line.endswith(": there is no triton kernel for the op"))
    names = line.strip().split(": ")[0].split(", ")
    for op in ("sparse_max_pool2d", "subm_conv2d"):  # without one and with one
        assert (op in names) == ("triton" not in backends._kernels[op])


def test_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "mesm_ops"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=True)
    assert not done.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == describe()
