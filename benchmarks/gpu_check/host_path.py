"""The host's part of an eager training step of the block on a GPU, without one.

The step is the GPU benchmark's: forward and backward pass under bfloat16 autocast. Tensors lie on
the CPU and say that they are on a GPU, which is played as in `make gpu-check`; each launch is
replaced by nothing. Left are the launches, which are counted, and the time that Python and torch
take to get from one to the next. On a GPU drivers, the launches themselves and the change of thread
for the backward pass come on top.

    python -m benchmarks.gpu_check.host_path
    python -m benchmarks.gpu_check.host_path --profile 30
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import dataclasses
import functools
import os
import pstats
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

# Before triton is imported: @triton.jit asks once whether kernels are to be interpreted.
os.environ.pop("TRITON_INTERPRET", None)

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu_check import triton as gpu
from benchmarks.inputs import block_case
from benchmarks.shapes import FACE_BLOCKS, HEADLINE_P
from benchmarks.steps import block_run
from mesm_ops import backends, eager
from mesm_ops.triton.parts import choice, selection

ARCH = "sm_90"
FRAMES = 16  # no kernel runs, so their number costs the host nothing
# The kernels that csrc/cuda/place.cu launches for one call.
SELECTION = ("rank", "sum_up_counts", "place_selected")


class _Compiled:
    """Stands for a compiled Triton kernel: notes down that it was launched."""

    function = 0
    packed_metadata = ()
    module = None

    def __init__(self, name: str, launches: Counter[str]) -> None:
        self.name, self._launches = name, launches

    def run(self, *_: Any) -> None:
        self._launches[self.name] += 1

    def launch_metadata(self, *_: Any) -> None:
        return None

    def result(self) -> _Compiled:
        return self

    def _init_handles(self) -> None:
        return None


class _Kernels(TorchDispatchMode):
    """Counts what torch computes: all but views and fresh memory."""

    def __init__(self, launches: Counter[str]) -> None:
        super().__init__()
        self._launches = launches

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if not (func.is_view or name.split("::")[1].startswith(("empty", "new_empty", "detach"))):
            self._launches[name] += 1
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def played(launches: Counter[str]) -> Iterator[None]:
    """Let the block run as on a GPU of Hopper's kind; launches are counted and do nothing."""

    def note(kernel: Any, key: Any, signature: Any, device: Any, *_: Any) -> _Compiled:
        made = kernel.device_caches[device][0][key] = _Compiled(kernel.__name__, launches)
        return made

    def runs_cuda(*_: Any) -> bool:
        return True

    def select_and_place(*_: Any) -> None:
        launches.update(SELECTION)

    cuda = SimpleNamespace(select_and_place=select_and_place, place_scratch=lambda *_: 1)
    kernels = {}
    for op, known in backends._kernels.items():
        if "triton" in known:
            one = known["triton"]
            supports = functools.partial(_after, one.supports)
            kernels[op] = dataclasses.replace(one, supports=supports, available=lambda: None)
    patches = [
        mock.patch.object(gpu, "_Zeros", contextlib.nullcontext),
        mock.patch.object(torch.Tensor, "is_cuda", True, create=True),
        mock.patch.object(torch.Tensor, "is_cpu", False, create=True),
        mock.patch.object(selection, "has_cuda_kernels", runs_cuda),
        mock.patch.object(torch.ops, "mesm_ops_cuda", cuda),
        mock.patch.object(choice, "_choose", functools.cache(gpu._chooser(ARCH, -1))),
        *(mock.patch.dict(backends._kernels[op], triton=one) for op, one in kernels.items()),
    ]
    gpu._forget()
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(gpu.playing(ARCH, note))
        stack.callback(torch.set_autocast_enabled, "cuda", torch.is_autocast_enabled("cuda"))
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        yield


def _after(supports: Callable[[Any], str | None], a: Any) -> None:
    """Ask whether a kernel takes the arguments, as on a GPU; the answer speaks of the CPU."""
    supports(a)


def training_step() -> Callable[[], Any]:
    """Return a training step of the first face block; call inside `played`."""
    case = block_case(FACE_BLOCKS[0], HEADLINE_P, torch.bfloat16, FRAMES)
    return block_run(case, torch.bfloat16, train=True)


def count(step: Callable[[], Any], launches: Counter[str]) -> Counter[str]:
    """Return how often each kernel is launched in a step: Triton's, CUDA's and torch's."""
    for _ in range(3):  # from the third step on, launches are recorded ones
        step()
    launches.clear()
    # An eager step is watched, and must not notice: `int()` is 0, as many modes.
    with mock.patch.object(eager, "_modes", int), _Kernels(launches):
        step()
    return Counter(launches)


def milliseconds(step: Callable[[], Any], steps: int) -> float:
    """Return the median of a step's processor time."""
    for _ in range(min(steps, 10)):
        step()
    times = []
    for _ in range(steps):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    return statistics.median(times) * 1e3


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check.host_path",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="the N dearest calls")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error(f"--steps must be at least 1, got {arguments.steps}")
    torch.set_num_threads(1)
    launches: Counter[str] = Counter()
    with played(launches):
        step = training_step()
        found = count(step, launches)
        took = milliseconds(step, arguments.steps)
        for name, number in found.most_common():
            print(f"{number:4} {name}")
        print(f"{found.total():4} launches, {took:.3f} ms of the host")
        if arguments.profile:
            with cProfile.Profile() as profile:
                for _ in range(arguments.steps):
                    step()
            stats = pstats.Stats(profile)
            stats.sort_stats("tottime").print_stats(arguments.profile)


if __name__ == "__main__":
    main()
