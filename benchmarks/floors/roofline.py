"""How far every op is from what the machine allows: FLOPs, bytes, floor and time, into one JSON.

The floor of an op is the larger of two times: its FLOPs at the rate of PyTorch's dense convolution
(oneDNN, the best rate known on the machine, float32 or bfloat16), and its bytes, every input and
output once, at the rate of a copy of the same size. Sites, weights and inputs are the block
benchmark's at p = 0.5.

    python -m benchmarks.floors.roofline --threads 2
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.calls import calls
from benchmarks.environment import environment
from benchmarks.inputs import block_case
from benchmarks.measure import count_flops, median_ms
from benchmarks.report import write_json
from benchmarks.shapes import DTYPES, FACE_BLOCKS, HEADLINE_P, Shape

RESULTS = Path(__file__).parents[1] / "results"
SECONDS = 0.3  # for each op


def dense_rate(shape: Shape, dtype: torch.dtype) -> float:
    """GFLOP/s of the dense convolution, channels-last."""
    x = torch.randn(32, shape.in_channels, shape.height, shape.width).to(dtype)
    weight = torch.randn(shape.out_channels, shape.in_channels, 3, 3).to(dtype)
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    flops = count_flops(lambda: F.conv2d(x, weight, padding=1))
    return flops / median_ms(lambda: F.conv2d(x, weight, padding=1), "cpu", SECONDS) / 1e6


def copy_rate(size: int) -> float:
    """GB/s, reading and writing counted, of copying so many bytes at least."""
    source = torch.randn(max(size // 8, 1 << 16))
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_ms(lambda: target.copy_(source), "cpu", SECONDS) / 1e6


def bytes_of(args: tuple[Any, ...], out: Any) -> int:
    """Bytes of every tensor among arguments and results, each once."""
    outs = out if isinstance(out, tuple | list) else (out,)
    return sum(t.nbytes for t in (*args, *outs) if isinstance(t, Tensor))


@torch.no_grad()
def measure(shape: Shape, dtype: torch.dtype) -> list[dict[str, Any]]:
    """A row for each op."""
    rate, rows = dense_rate(shape, dtype), []
    for call in calls(block_case(shape, HEADLINE_P, dtype), dtype, trim=True):
        flops, moved = count_flops(call.run), bytes_of(call.args, call.run())
        bandwidth = copy_rate(moved)
        floor = max(flops / rate / 1e6, moved / bandwidth / 1e6)
        ms = median_ms(call.run, "cpu", SECONDS)
        rows.append(
            {
                "op": call.name,
                "shape": str(shape),
                "dtype": str(dtype).removeprefix("torch."),
                "gflop": flops / 1e9,
                "mb": moved / 1e6,
                "dense_gflop_per_s": rate,
                "copy_gb_per_s": bandwidth,
                "floor_ms": floor,
                "ms": ms,
                "of_floor": floor / ms,
            }
        )
        print(
            f"{call.name:38} {rows[-1]['dtype']:9} {shape!s:18} {flops / 1e9:7.3f} GFLOP "
            f"{moved / 1e6:7.2f} MB  floor {floor:7.3f} ms  took {ms:7.3f} ms  "
            f"{100 * floor / ms:4.0f} %",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floors.roofline",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=RESULTS / "roofline.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtypes = (DTYPES[name] for name in ("float32", "bfloat16"))
    rows = [row for dtype in dtypes for shape in FACE_BLOCKS for row in measure(shape, dtype)]
    write_json(arguments.results, {"rows": rows, "environment": environment()})
    print(arguments.results)


if __name__ == "__main__":
    main()
