"""Run every op on small maps, one after the other, for compute-sanitizer or ncu to watch.

    python -m benchmarks.gpu.watch --device cuda
    compute-sanitizer python -m benchmarks.gpu.watch --shape 128-256-12x12 --frames 512 --p 1

Each call's name is printed before the call, and the device is waited for after it: the last name is
the call at fault.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import torch

from benchmarks.calls import Call, block_calls, calls
from benchmarks.inputs import block_case
from benchmarks.shapes import DTYPES, HEADLINE_P, SMALL, Shape


def read_shape(text: str) -> Shape:
    """The shape of a name as "128-256-12x12"."""
    if (numbers := re.fullmatch(r"(\d+)-(\d+)-(\d+)x(\d+)", text)) is None:
        raise argparse.ArgumentTypeError(f"wanted a shape as 128-256-12x12, got {text!r}")
    return Shape(*map(int, numbers.groups()))


def every_call(shape: Shape, dtype: str, p: float, frames: int, device: str) -> Iterator[Call]:
    """The ops of a block's step, then the block as one op."""
    case = block_case(shape, p, DTYPES[dtype], frames, device)
    yield from calls(case, DTYPES[dtype])
    yield from block_calls(case, DTYPES[dtype])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.watch",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--shape", type=read_shape, action="append", help="as 128-256-12x12")
    parser.add_argument("--dtype", choices=tuple(DTYPES), action="append")
    parser.add_argument("--p", type=float, default=HEADLINE_P)
    parser.add_argument("--call", default="", help="only calls whose name has this expression")
    parser.add_argument(
        "--profiled", action="store_true", help="let ncu see the second of two runs"
    )
    arguments = parser.parse_args()
    cuda = arguments.device == "cuda"
    for shape in arguments.shape or SMALL:
        for dtype in arguments.dtype or DTYPES:
            ran = 0
            given = (shape, dtype, arguments.p, arguments.frames, arguments.device)
            for call in every_call(*given):
                if not re.search(arguments.call, call.name):
                    continue
                print(f"{call.name}, {shape}, {dtype}", flush=True)
                call.run()
                if arguments.profiled and cuda:
                    torch.cuda.synchronize()
                    torch.cuda.profiler.start()
                    call.run()
                    torch.cuda.profiler.stop()
                if cuda:
                    torch.cuda.synchronize()
                ran += 1
            if not ran:
                raise SystemExit(f"error: no call's name has {arguments.call!r}")
            print(f"{shape}, {dtype}: {ran} calls ran", flush=True)


if __name__ == "__main__":
    main()
