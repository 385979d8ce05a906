"""The least cost of the block's GPU passes and of every op: bytes, FLOPs, and the time these take.

Bytes: every active row that an op reads once, every row that it writes once (padding rows too,
which the contract wants zero), weights once. Caches are taken as perfect inside an op and empty
before it. FLOPs: 2 per multiply–accumulate over exact pairs, as the ops' own FLOP formulas count.

    python -m benchmarks.floors.cost_model          # the passes, beside an H100's times
    python -m benchmarks.floors.cost_model --ops    # floors of every op on every machine
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from benchmarks.floors import passes
from benchmarks.floors.machines import MACHINES, Cost
from benchmarks.floors.sizes import Sizes, block_sizes
from benchmarks.inputs import block_case
from benchmarks.report import markdown
from benchmarks.shapes import FACE_BLOCKS, HEADLINE_P

INT = 4  # bytes of a site, an offset, a row number; logits and statistics are float32 alike


def op_costs(s: Sizes) -> dict[str, Cost]:
    """Cost of every op that `benchmarks.calls.calls` yields, by its name."""
    cin, cout = s.shape.in_channels, s.shape.out_channels
    costs = _attention_costs(s)
    for number, before in ((1, cin), (2, cout)):
        costs |= _convolution_costs(s, number, before, cout) | _norm_costs(s, number, cout)
    pooled = s.pooled * cout
    argmax = s.pooled_rows * cout * INT
    costs["sparse_max_pool2d"] = Cost(
        s.kept * (cout * s.itemsize + INT)
        + s.pooled_rows * (cout * s.itemsize + INT)
        + argmax
        + 2 * _offsets(s)
    )
    costs["sparse_max_pool2d_backward"] = Cost(
        pooled * s.itemsize + argmax + s.rows * cout * s.itemsize
    )
    return costs


def _offsets(s: Sizes) -> int:
    return (s.frames + 1) * INT


def _attention_costs(s: Sizes) -> dict[str, Cost]:
    c, k, e = s.shape.in_channels, s.shape.in_channels, s.itemsize
    maps, logits = s.rows * c * e, s.rows * INT
    weights = (k * c + k + k * s.query_dim + k + 1) * e
    queries = s.samples * s.query_dim * e
    of_map, of_query, of_score = s.rows * c * k, s.samples * s.query_dim * k, s.rows * k
    return {
        "cross_modal_score": Cost(
            maps + logits + weights + queries + _offsets(s), 2 * (of_map + of_query + of_score)
        ),
        # Both projections once more, then two products for each; sums of the weights by parts.
        "cross_modal_score_backward": Cost(
            2 * maps + logits + 2 * weights + 2 * queries + _offsets(s),
            2 * (3 * of_map + 3 * of_query + 2 * of_score),
        ),
        "top_p_select": Cost(
            2 * logits  # logits are read, the attention is written
            + s.rows * INT  # sites
            + s.kept * c * e
            + s.rows * (c * e + 2 * INT)  # features, sites and row numbers
            + 2 * _offsets(s)
        ),
        "top_p_select_backward": Cost(
            2 * s.kept * c * e + s.kept * INT + 2 * logits + maps + 2 * _offsets(s)
        ),
    }


def _convolution_costs(s: Sizes, number: int, cin: int, cout: int) -> dict[str, Cost]:
    e, flops = s.itemsize, 2 * s.pairs * cin * cout
    weight = 9 * cin * cout * e
    place = s.kept * INT + _offsets(s)
    read_in, read_out = s.kept * cin * e, s.kept * cout * e
    name = "subm_conv2d"
    return {
        f"{name} {number}": Cost(read_in + weight + place + s.rows * cout * e, flops),
        f"{name}_backward {number}, input": Cost(
            read_out + weight + place + s.rows * cin * e, flops
        ),
        f"{name}_backward {number}, weight": Cost(read_in + read_out + weight + place, flops),
    }


def _norm_costs(s: Sizes, number: int, channels: int) -> dict[str, Cost]:
    read, write = s.kept * channels * s.itemsize, s.rows * channels * s.itemsize
    name = "sparse_batch_norm"
    return {
        f"{name} {number}": Cost(read + write + 6 * channels * INT),
        f"{name}_backward {number}": Cost(2 * read + write + 6 * channels * INT),
    }


def block_costs(s: Sizes) -> dict[str, Cost]:
    """Cost of a block in inference and in a training step, with all that can be fused fused.

    Inference: maps in, pooled maps out, nothing between in memory. Training: batch statistics
    force each convolution's result into memory, which the backward pass reads again; gradients of
    both results pass through memory once, and each norm's sums are taken before they are used.
    Lists of neighbours are no part of these floors.
    """
    ops = op_costs(s)
    cin, cout, e = s.shape.in_channels, s.shape.out_channels, s.itemsize
    weights = 9 * cout * (cin + cout) * e
    maps, out = s.rows * cin * e, s.pooled_rows * cout * e
    kept_in, middle = s.kept * cin * e, s.kept * cout * e
    argmax = s.pooled_rows * cout  # a byte each
    flops = {name: cost.flops for name, cost in ops.items()}
    forward = flops["cross_modal_score"] + flops["subm_conv2d 1"] + flops["subm_conv2d 2"]
    backward = sum(count for name, count in flops.items() if "_backward" in name)
    forward_bytes = maps + weights + kept_in + 4 * middle + out + argmax
    # Reads y1, y2, gradients; writes the gradients of y2, y1 and of the maps.
    backward_bytes = 2 * weights + out + argmax + 8 * middle + 2 * kept_in + 2 * maps
    return {
        "block inference": Cost(maps + weights + out, forward),
        "block training step": Cost(forward_bytes + backward_bytes, forward + backward),
    }


def dense_costs(s: Sizes) -> dict[str, Cost]:
    """Cost of the dense block, its norms and ReLUs fused into the convolutions in inference."""
    cin, cout, e = s.shape.in_channels, s.shape.out_channels, s.itemsize
    sites = s.rows
    weights = 9 * cout * (cin + cout) * e
    maps, middle, out = sites * cin * e, sites * cout * e, s.pooled_rows * cout * e
    flops = 2 * 9 * sites * cout * (cin + cout)
    forward_bytes = maps + weights + 2 * middle + out
    training = forward_bytes + 2 * middle + 2 * weights + out + 8 * middle + 2 * maps
    return {
        "block inference": Cost(forward_bytes, flops),
        "block training step": Cost(training, 3 * flops),
    }


def face_sizes(p: float, itemsize: int, frames: int, drawn: int = 32) -> list[Sizes]:
    """Sizes of the three face blocks at p, from frames as the benchmark draws them."""
    found = []
    for shape in FACE_BLOCKS:
        case = block_case(shape, p, torch.float32, drawn)
        sizes = block_sizes(case, shape, torch.float32)
        found.append(replace(sizes, itemsize=itemsize).at(frames))
    return found


def ops_table(frames: int, p: float, dtype: str) -> list[str]:
    """Lines of Markdown: each op of each face block with its floor on each machine."""
    itemsize = 4 if dtype == "float32" else 2
    lines = []
    for s in face_sizes(p, itemsize, frames):
        dense = {f"dense {name}": cost for name, cost in dense_costs(s).items()}
        rows = []
        for name, cost in (op_costs(s) | block_costs(s) | dense).items():
            floors = [f"{cost.floor_us(machine, dtype):.1f}" for machine in MACHINES]
            label = f"`{name}`" if "_" in name else name
            rows.append((label, f"{cost.flops / 1e9:.2f}", f"{cost.bytes / 1e6:.1f}", *floors))
        head = ("op", "GFLOP", "MB", *(f"{machine.name}, µs" for machine in MACHINES))
        lines += [f"**{s.shape}**, {s.kept / s.rows:.2f} of the sites kept:", ""]
        lines += [*markdown(head, rows).splitlines(), ""]
    return lines


def passes_table(frames: int, p: float, training: bool) -> list[str]:
    """Lines of Markdown: each pass of each face block on an H100, bfloat16, with its time."""
    (machine,) = (machine for machine in MACHINES if machine.name == "H100")
    took = passes.measured(training) if (frames, p) == (512, HEADLINE_P) else {}
    lines = []
    for number, s in enumerate(face_sizes(p, 2, frames)):
        rows = passes.table(s, training, machine, took.get(str(s.shape)), number if took else None)
        step, share = passes.STEPS[training], s.kept / s.rows
        lines += [f"**{s.shape}**, {step}, {share:.2f} of the sites kept:", ""]
        lines += [*markdown(passes.HEAD, rows).splitlines(), ""]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floors.cost_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--frames", type=int, default=512, help="of a block; default: 512")
    parser.add_argument(
        "--p",
        type=float,
        default=HEADLINE_P,
        help=f"share of the attention that is kept; default: {HEADLINE_P}",
    )
    parser.add_argument("--ops", action="store_true", help="every op on every machine instead")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="of --ops; default: bfloat16"
    )
    arguments = parser.parse_args()
    if arguments.dtype and not arguments.ops:
        parser.error("--dtype is for --ops; the passes are counted in bfloat16")
    if arguments.ops:
        lines = ops_table(arguments.frames, arguments.p, arguments.dtype or "bfloat16")
    else:
        lines = []
        for training in (True, False):
            lines += passes_table(arguments.frames, arguments.p, training)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
