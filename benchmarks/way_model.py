"""What both ways of running a block's inference in CUDA would take on an H200: reckoned.

One kernel that takes frames group by group reads all weights from L2 for every group, and does a
frame's scores and selection while its tensor cores wait. A launch for each step reads weights once
for every 128 rows of all frames, and passes every step's result through memory. The rates below
are what such loops are known or thought to reach; `make gpu` measures both.

    python -m benchmarks.way_model          # the table of docs/gpu.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.cost_model import MACHINES, Sizes, block_costs, dense_costs, face_sizes
from benchmarks.shapes import HEADLINE_P

H200 = MACHINES[0]
PROCESSORS = 132
L2_BYTES_PER_SECOND = 5.5e12
MMA_SYNC = 0.62  # of the stated rate, which takes wgmma
GROUP_LOOP = 0.75  # of mma.sync's rate: rows stay in shared memory
LAUNCH_LOOP = 0.65  # rows are gathered again for every step of k
FRONT_US = 12.0  # of a frame: scores 6, nucleus 3, slots and features 3; nothing overlaps it
MEMORY = 0.6  # of the stated rate, in the steps that only move rows
STEP_US = 3.0  # from a launch's begin to its first result, and to the next one's begin
# Taps of nine that are left for sixteen rows, by simulation of the benchmark's masks.
GROUP_TAPS, LAUNCH_TAPS = 8.6, 7.8


@dataclass(frozen=True)
class Group:
    """A group of frames in one block."""

    frames: int
    row_warps: int  # of 80 rows

    @property
    def columns(self) -> int:
        """Columns that the eight warps of 64 columns have side by side."""
        return 8 // self.row_warps * 64


# By the block's place: what `plan_group` chooses, and what it would be if it took 512 columns
# (whose weights of 64 of k would not even fit three times).
GROUPS = (Group(1, 4), Group(2, 2), Group(4, 1))


def weights(s: Sizes) -> int:
    """Bytes of both convolutions' weights."""
    cin, cout = s.shape.in_channels, s.shape.out_channels
    return 9 * cout * (cin + cout) * s.itemsize


def held(s: Sizes, group: Group) -> int:
    """Rows of a group's tile: sixteen at a time."""
    return math.ceil(group.frames * s.kept / s.frames / 16) * 16


def shared_bytes(s: Sizes, group: Group, stages: int = 3) -> int:
    """Shared memory of a group: both inputs, and weights for 64 of k in each stage."""
    cin, cout = s.shape.in_channels, s.shape.out_channels
    return held(s, group) * (cin + cout) * s.itemsize + stages * group.columns * 64 * s.itemsize


def _convolutions(s: Sizes, rows: float, taps: float) -> float:
    cin, cout = s.shape.in_channels, s.shape.out_channels
    return 2 * rows * taps * cout * (cin + cout)


def group_us(s: Sizes, group: Group) -> dict[str, float]:
    """Microseconds by what takes them; "sum" has the larger of tensor cores and L2."""
    groups = math.ceil(s.frames / group.frames)
    waves = math.ceil(groups / PROCESSORS)
    rate = H200.flops_per_second["bfloat16"] / PROCESSORS * MMA_SYNC * GROUP_LOOP
    tensor = waves * _convolutions(s, held(s, group), GROUP_TAPS) / rate * 1e6
    l2 = groups * weights(s) / L2_BYTES_PER_SECOND * 1e6
    front = waves * group.frames * FRONT_US
    before = 2 * STEP_US  # weights are packed, queries projected
    return {
        "tensor cores": tensor,
        "L2": l2,
        "front": front,
        "sum": max(tensor, l2) + front + before,
    }


def launches_us(s: Sizes) -> dict[str, float]:
    """The same of a launch for each step: nine of them."""
    cin, cout, e = s.shape.in_channels, s.shape.out_channels, s.itemsize
    rate = H200.flops_per_second["bfloat16"] * MMA_SYNC * LAUNCH_LOOP
    tensor = _convolutions(s, s.kept, LAUNCH_TAPS) / rate * 1e6
    moved = (
        s.rows * cin * e  # scores
        + s.kept * (2 * cin * e + 9 * 4 * 2)  # kept rows side by side, and their neighbours
        + s.kept * cout * e  # the pool
        + s.pooled_rows * cout * e
    )
    memory = moved / H200.bytes_per_second / MEMORY * 1e6
    # Scores and nuclei: eight half-blocks an SM hide half of what one block cannot.
    front = s.frames / PROCESSORS * FRONT_US / 2
    return {
        "tensor cores": tensor,
        "memory": memory,
        "front": front,
        "sum": tensor + memory + front + 9 * STEP_US,
    }


def table(frames: int = 512) -> list[str]:
    """Lines of Markdown."""
    head = (
        *("block", "rows", "shared, KB", "weights from L2, MB"),
        *("tensor cores, µs", "L2, µs", "front, µs", "one kernel, µs", "nine launches, µs"),
        *("floor, µs", "dense floor, µs"),
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for s, group in zip(face_sizes(HEADLINE_P, 2, frames), GROUPS, strict=True):
        one, many = group_us(s, group), launches_us(s)
        groups = math.ceil(s.frames / group.frames)
        floors = (costs(s)["block inference"] for costs in (block_costs, dense_costs))
        cells = [
            f"{s.shape}, {group.frames} frame{'s' * (group.frames > 1)} a group",
            str(held(s, group)),
            f"{shared_bytes(s, group) / 1e3:.0f}",
            f"{groups * weights(s) / 1e6:.0f}",
            *(f"{one[name]:.0f}" for name in ("tensor cores", "L2", "front", "sum")),
            f"{many['sum']:.0f}",
            *(f"{cost.floor_us(H200, 'bfloat16'):.0f}" for cost in floors),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    print("\n".join(table()))


if __name__ == "__main__":
    main()
