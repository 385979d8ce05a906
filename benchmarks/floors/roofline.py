"""How far every op is from what the machine allows: FLOPs, bytes, floor and time, into one JSON.

The floor of an op is the larger of two times: its FLOPs at the rate of PyTorch's dense convolution
(oneDNN, the best rate known on the machine, float32 or bfloat16), and its bytes, every input and
output once, at the rate of a copy of the same size. Sites, weights and inputs are the block
benchmark's at p = 0.5.

    python -m benchmarks.roofline --threads 2
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.inputs import block_case
from benchmarks.measure import count_flops
from benchmarks.report import machine
from benchmarks.shapes import FACE_BLOCKS, HEADLINE_P, Shape
from mesm.run_folder import write_beside
from mesm_ops import SparseFeatureMaps

RESULTS = Path(__file__).parent / "results"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SECONDS = 0.3  # for each op

Call = tuple[Any, tuple[Any, ...]]


def milliseconds(run: Callable[[], object]) -> float:
    """The median of many runs."""
    for _ in range(3):
        run()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def dense_rate(shape: Shape, dtype: torch.dtype) -> float:
    """GFLOP/s of the dense convolution, channels-last."""
    x = torch.randn(32, shape.in_channels, shape.height, shape.width).to(dtype)
    weight = torch.randn(shape.out_channels, shape.in_channels, 3, 3).to(dtype)
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    flops = count_flops(lambda: F.conv2d(x, weight, padding=1))
    return flops / milliseconds(lambda: F.conv2d(x, weight, padding=1)) / 1e6


def copy_rate(size: int) -> float:
    """GB/s, reading and writing counted, of copying so many bytes at least."""
    source = torch.randn(max(size // 8, 1 << 16))
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source)) / 1e6


def calls(shape: Shape, dtype: torch.dtype) -> dict[str, Call]:
    """Every op of a training step's forward and backward pass with real arguments."""
    case = block_case(shape, HEADLINE_P, dtype)
    block, ops = case.block, torch.ops.mesm_ops
    x = SparseFeatureMaps.from_dense(case.maps)
    attention = [p.detach().to(dtype) for p in block.attention.parameter_tuple()]
    asked = (case.query.to(dtype), case.lengths, *attention)
    made: dict[str, Call] = {}

    def call(name: str, *args: Any) -> Any:
        made[name] = (getattr(ops, name.split(" ")[0]), args)
        return getattr(ops, name.split(" ")[0])(*args)

    maps = (x.features, x.offsets)
    logits = call("cross_modal_score", *maps, *asked)
    call("cross_modal_score_backward", torch.randn_like(logits), *maps, *asked[:-1])
    selected = call("top_p_select", x.features, x.sites, x.offsets, logits, HEADLINE_P, True, True)
    features, sites, offsets, rows, weights = selected
    call(
        *("top_p_select_backward", torch.randn_like(features), *maps),
        *(offsets, rows, weights, True),
    )
    place = (sites, offsets, shape.height, shape.width)
    for number, (convolution, norm) in enumerate(
        ((block.conv1, block.norm1), (block.conv2, block.norm2)), start=1
    ):
        weight = convolution.weight.detach().to(dtype)
        out = call(f"subm_conv2d {number}", features, *place, weight, None)
        grad = torch.randn_like(out)
        needs = {"input": (True, False, False), "weight": (False, True, False)}
        for which, flags in needs.items():
            name = f"subm_conv2d_backward {number}, {which}"
            call(name, grad, features, *place, weight, *flags)
        parameters = (norm.weight.detach(), norm.bias.detach())
        running = (norm.running_mean, norm.running_var)
        name = f"sparse_batch_norm {number}"
        features, mean, var = call(name, out, offsets, *parameters, *running, True, 1e-5, True)
        name = f"sparse_batch_norm_backward {number}"
        call(name, grad, out, offsets, *parameters, mean, var, True, 1e-5, True)
    pooled, _, _, argmax = call("sparse_max_pool2d", features, *place, True)
    call("sparse_max_pool2d_backward", torch.randn_like(pooled), argmax, features.shape[0])
    return made


def bytes_of(args: tuple[Any, ...], out: Any) -> int:
    """Every tensor once."""
    outs = out if isinstance(out, tuple | list) else (out,)
    return sum(t.nbytes for t in (*args, *outs) if isinstance(t, Tensor))


@torch.no_grad()
def measure(shape: Shape, dtype: torch.dtype) -> list[dict[str, Any]]:
    """A row for each op."""
    rate, rows = dense_rate(shape, dtype), []
    for name, (op, args) in calls(shape, dtype).items():
        run = partial(op, *args)
        flops, moved = count_flops(run), bytes_of(args, run())
        bandwidth = copy_rate(moved)
        floor = max(flops / rate / 1e6, moved / bandwidth / 1e6)
        ms = milliseconds(run)
        rows.append(
            {
                "op": name,
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
            f"{name:38} {rows[-1]['dtype']:9} {shape!s:18} {flops / 1e9:7.3f} GFLOP "
            f"{moved / 1e6:7.2f} MB  floor {floor:7.3f} ms  took {ms:7.3f} ms  "
            f"{100 * floor / ms:4.0f} %",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=RESULTS / "roofline.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [
        row for dtype in DTYPES.values() for shape in FACE_BLOCKS for row in measure(shape, dtype)
    ]
    result = {"rows": rows, "environment": machine(arguments.threads)}
    write_beside(arguments.results, json.dumps(result, indent=1) + "\n")
    print(arguments.results)


if __name__ == "__main__":
    main()
