"""How long the kernels of MESM's first training step take to compile, without a GPU.

The blocks' forward and backward passes of 8 clips under bfloat16 autocast, on a GPU that is played
as in `host_path`: kernels are compiled as on a GPU, with an empty cache, and launched into nothing.

    python -m benchmarks.gpu_check.compile_time --threads 1     # one after another
    python -m benchmarks.gpu_check.compile_time                 # side by side, as on a GPU
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from triton.compiler import CompiledKernel
from triton.runtime.jit import JITFunction

from benchmarks.gpu_check.host_path import played
from benchmarks.inputs import block_case
from benchmarks.shapes import AUDIO_BLOCKS, FACE_BLOCKS, HEADLINE_P, LONG_BATCHES
from benchmarks.steps import block_run
from mesm_ops.triton.parts import ahead

_AS_IT_IS = JITFunction._do_compile  # `played` puts another in its place


@contextlib.contextmanager
def compiling(launches: Counter[str], threads: int) -> Iterator[None]:
    """Let the block run as on a GPU whose kernels are compiled; launches do nothing."""

    def run_of(kernel: Any) -> Any:
        return lambda *_: launches.update([kernel.name])

    patches = {"run": property(run_of), "_init_handles": lambda _: None}
    patches["launch_metadata"] = lambda *_: None
    with contextlib.ExitStack() as stack:
        stack.enter_context(played(launches))
        stack.enter_context(mock.patch.object(JITFunction, "_do_compile", _AS_IT_IS))
        stack.enter_context(mock.patch.object(ahead, "_threads", return_value=threads))
        stack.enter_context(mock.patch.multiple(CompiledKernel, create=True, **patches))
        yield


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check.compile_time",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--threads", type=int, default=ahead._threads(), help="that compile")
    threads = parser.parse_args(arguments).threads
    if threads < 1:
        parser.error(f"--threads must be at least 1, got {threads}")
    torch.set_num_threads(1)
    clips = LONG_BATCHES[0]
    blocks = [(shape, clips.count * clips.faces) for shape in FACE_BLOCKS]
    blocks += [(shape, clips.count * clips.chunks) for shape in AUDIO_BLOCKS]
    launches: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory() as cache,
        mock.patch.dict(os.environ, {"TRITON_CACHE_DIR": cache}),
        compiling(launches, threads),
    ):
        cases = [block_case(shape, HEADLINE_P, torch.bfloat16, n) for shape, n in blocks]
        begin, before = time.perf_counter(), os.times()
        for case in cases:
            block_run(case, torch.bfloat16, train=True)()
        took, after = time.perf_counter() - begin, os.times()
    own, others = (sum(after[i : i + 2]) - sum(before[i : i + 2]) for i in (0, 2))
    print(
        f"{threads} threads: {took:.1f} s; processor time {own:.1f} s, "
        f"of ptxas {others:.1f} s; {launches.total()} launches of {len(launches)} kernels"
    )


if __name__ == "__main__":
    main()
