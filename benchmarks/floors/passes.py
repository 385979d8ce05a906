"""The passes of the block on a GPU: the least that each must move and compute, and what it took.

A pass is a launch of a kernel, or several of one kernel in a row. Bytes: what the pass reads and
writes of kept rows, each once, as the kernels in `mesm_ops/triton` and `csrc/cuda` do on a Hopper
GPU; padding where they write it. FLOPs: over exact pairs. Weights are float32 parameters.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.floors.machines import Cost, Machine
from benchmarks.floors.sizes import Sizes

MEASURED = Path(__file__).parents[1] / "results" / "h100-2026-11-26-redesign.json"
STEPS = {True: "training step", False: "inference"}  # by whether the block trains

INT = 4  # bytes of a site, an offset, a position; logits, statistics and parameters are as long
TILE = 128  # rows
LISTS = 9 * INT  # of a row: the positions of its neighbours
KEYS = 512  # sets of neighbours, which the placing kernels count in each frame
WINDOW = 4 * INT  # of a window of the pool: the positions of its rows
MULTIPROCESSORS = 132
PRODUCTS = 2 * MULTIPROCESSORS  # programs of a convolution or of a weight gradient
HELD = (64, 128)  # channels at which one pass makes all of the score's gradients


@dataclass(frozen=True)
class Pass:
    """One pass.

    Attributes:
        name: unique in its step.
        kernel: the kernel's name in a profile.
        cost: of all the kernel's launches in a step.
        group: of passes that belong together.
        estimate: the name of its estimate in `ESTIMATES`, which several passes may share; None: it
            is counted in another's.
    """

    name: str
    kernel: str
    cost: Cost
    group: str
    estimate: str | None


# µs on an H100 for the three face blocks, made before the kernels were written: FLOPs at 550
# TFLOP/s over whole tiles, or bytes at three quarters of what memory gives. Totals are counted with
# the passes that leave their parts.
ESTIMATES: dict[str, tuple[int, int, int]] = {
    "select": (35, 22, 17),
    "place": (9, 4, 3),
    "convolution 1": (32, 31, 30),
    "statistics 1": (2, 2, 2),
    "norm 1": (33, 14, 8),
    "convolution 2": (63, 62, 60),
    "statistics 2": (2, 2, 2),
    "pool": (27, 11, 7),
    "norm 2 sums": (27, 12, 9),
    "norm 2 gradient": (44, 17, 10),
    "weight gradient 2": (66, 63, 55),
    "input gradient 2": (65, 64, 62),
    "norm 1 gradient": (50, 19, 11),
    "weight gradient 1": (34, 32, 28),
    "input gradient 1": (36, 31, 30),
    "score gradients": (50, 33, 22),
}
# In inference nothing is kept for later.
INFERENCE_ESTIMATES = ESTIMATES | {"select": (25, 18, 16), "pool": (20, 11, 7)}


def passes(s: Sizes, training: bool) -> list[Pass]:
    """The passes of a training step, or of inference, in their order."""
    found = _selection(s)
    cin, cout = s.shape.in_channels, s.shape.out_channels
    rows_out = s.kept * cout * s.itemsize
    if not training:
        return [
            *found,
            _convolution(s, "convolution 1", cin, cout),
            _convolution(s, "convolution 2", cout, cout),
            _pool(s, keeps=False),
        ]
    found += [
        _convolution(s, "convolution 1", cin, cout),
        _reduction("statistics 1", "_combine", cout),
        _norm("norm 1", "_norm_rows", 2 * rows_out),
        _convolution(s, "convolution 2", cout, cout),
        _reduction("statistics 2", "_combine", cout),
        _pool(s, keeps=True),
        Pass(
            "running statistics", "_move_kernel", Cost(8 * 2 * cout * INT), "norms and pool", None
        ),
    ]
    (products1, sum1), (products2, sum2) = (
        _weight_gradient(s, name, channels, cout) for name, channels in (("1", cin), ("2", cout))
    )
    upstream = s.pooled * cout * (s.itemsize + 1)  # with the pool's choice, a byte each
    windows = s.pooled * WINDOW
    found += [
        _norm("norm 2 sums", "_norm_pool_sums", upstream + windows + rows_out),
        _reduction("norm 2 total", "_total", cout, estimated=False),
        _norm("norm 2 gradient", "_norm_pool_gradient", upstream + s.kept * INT + 2 * rows_out),
        products2,
        _convolution(s, "input gradient 2", cout, cout, beside=rows_out),
        _reduction("norm 1 total", "_total", cout, estimated=False),
        _norm("norm 1 gradient", "_norm_gradient", 3 * rows_out),
        products1,
        _convolution(s, "input gradient 1", cout, cin),
    ]
    return found + _score_gradients(s, sum1 + sum2)


def _selection(s: Sizes) -> list[Pass]:
    cin, cout, e = s.shape.in_channels, s.shape.out_channels, s.itemsize
    k, logits = cin, s.rows * INT
    queries, counts, masks = s.samples * k * INT, s.frames * KEYS * INT, s.rows // TILE * INT
    parameters = 9 * cout * (cin + cout) + k * cin
    prepared = parameters * (INT + e) + (k + s.samples) * s.query_dim * INT + queries + logits
    ranked = 8 * s.kept
    kept = ranked + counts + 2 * s.kept * cin * e + s.kept * (LISTS + 3 * INT)
    placed = kept + logits + s.pooled * WINDOW + s.pooled_rows * INT
    named = (
        ("weights, query", "_prepare_kernel", prepared, 2 * s.samples * s.query_dim * k, "select"),
        (
            "scores",
            "_score_kernel",
            (s.rows + k) * cin * e + queries + logits,
            2 * s.rows * k * (cin + 1),
            "select",
        ),
        ("nucleus, neighbours", "rank", 3 * logits + ranked + counts, 0, "select"),
        ("sums over frames", "sum_up_counts", 2 * counts + masks, 0, "select"),
        ("placing", "place_selected", placed, 0, "place"),
    )
    return [
        Pass(name, kernel, Cost(moved, flops), "selection", estimate)
        for name, kernel, moved, flops, estimate in named
    ]


def _convolution(s: Sizes, name: str, cin: int, cout: int, beside: int = 0) -> Pass:
    moved = s.kept * ((cin + cout) * s.itemsize + LISTS) + 9 * cin * cout * s.itemsize + beside
    cost = Cost(moved, 2 * s.pairs * cin * cout)
    return Pass(name, "convolve_kernel", cost, "convolutions", name)


def _norm(name: str, kernel: str, moved: int) -> Pass:
    return Pass(name, kernel, Cost(moved), "norms and pool", name)


def _pool(s: Sizes, keeps: bool) -> Pass:
    cout = s.shape.out_channels
    moved = (s.kept + s.pooled_rows) * cout * s.itemsize + s.pooled * WINDOW
    return _norm("pool", "_norm_pool", moved + (s.pooled * cout if keeps else 0))


def _reduction(name: str, kernel: str, channels: int, estimated: bool = True) -> Pass:
    """Sums of the programs' sums."""
    parts = PRODUCTS // max(1, channels // TILE)
    cost = Cost(parts * 2 * channels * INT)
    return Pass(name, kernel, cost, "norms and pool", name if estimated else None)


def _weight_gradient(s: Sizes, number: str, cin: int, cout: int) -> tuple[Pass, int]:
    """The products, and the bytes that adding their parts moves."""
    across, down = min(TILE, cin), min(TILE, cout)
    units = 9 * (cin // across) * (cout // down)
    parts = (PRODUCTS + units) * across * down * INT
    moved = s.kept * ((cin + cout) * s.itemsize + LISTS)
    name = f"weight gradient {number}"
    products = Cost(moved + parts, 2 * s.pairs * cin * cout)
    made = Pass(name, "weight_gradient_kernel", products, "weight gradients", name)
    return made, parts + 9 * cin * cout * INT


def _score_gradients(s: Sizes, sums: int) -> list[Pass]:
    c, k, e = s.shape.in_channels, s.shape.in_channels, s.itemsize
    maps, of_kept, logits = s.rows * c * e, s.kept * c * e, s.rows * INT
    of_map, of_score = 2 * s.rows * c * k, 2 * s.rows * k
    of_query = 2 * s.samples * s.query_dim * k
    weight = k * c * e
    attention = 2 * of_kept + 2 * s.kept * INT + 4 * logits
    ends = 2 * (k + s.samples) * s.query_dim * INT
    # Features and their gradient, the kept rows' with their positions and factors.
    through = 2 * maps + of_kept + 3 * logits + weight
    found = [("attention's gradient", "_grad_attention_kernel", attention, 0)]
    if k in HELD and c in HELD and e == 2:
        programs = MULTIPROCESSORS * (3 if k * c <= 64 * 64 else 1)
        chunk = 64 * max(1, -(-s.rows // (64 * programs)))  # rows of one sample
        parts = (-(-s.rows // chunk) + s.samples) * k * c * INT
        found += [
            ("score's gradients", "one_pass_kernel", through + parts, 3 * of_map + 2 * of_score),
            ("score's gradients, sums", "sums_kernel", parts + k * c * INT, 0),
        ]
    else:
        inside = s.rows * k * e
        programs = max(1, min(MULTIPROCESSORS * TILE**2 // (k * c), -(-s.rows // 64)))
        parts = programs * k * c * INT
        first = maps + logits + weight + inside
        found += [
            ("inside the tanh", "inside_kernel", first, of_map + 2 * of_score),
            ("score's gradients", "products_kernel", through - logits + inside + parts, 2 * of_map),
        ]
        ends += parts + k * c * INT
    made = [
        Pass(name, kernel, Cost(moved, flops), "score's gradients", "score gradients")
        for name, kernel, moved, flops in found
    ]
    ends = Cost(ends + sums, 2 * of_query)
    return [*made, Pass("sums of parts", "_finish_kernel", ends, "sums of parts", None)]


def kernel_name(profiled: str) -> str:
    """The kernel's own name, out of a profiler's name for the kernel."""
    match = re.match(r"(?:void )?(?:\w+::|\(anonymous namespace\)::)*(\w+)", profiled)
    if match is None:
        raise ValueError(f"no kernel's name: {profiled!r}")
    return match[1]


@dataclass(frozen=True)
class Measured:
    """Times of a step's launches in a profile, µs."""

    launches: int
    total_us: float
    kernels: Mapping[str, tuple[int, float]]  # launches, and µs of all launches, by kernel

    def us(self, step: list[Pass], kernel: str) -> float | None:
        """The time of a kernel, if it was launched as often as the step has passes of its name."""
        wanted = sum(each.kernel == kernel for each in step)
        launches, us = self.kernels.get(kernel, (0, 0.0))
        return us if launches == wanted else None


def measured(training: bool, path: Path = MEASURED) -> dict[str, Measured]:
    """Profiles of the blocks on an H100, by shape."""
    content: dict[str, Any] = json.loads(path.read_text())
    found = {}
    for block in content["blocks"]:
        profile, kernels = block["kernels"][STEPS[training]], {}
        for row in profile["kernels"]:
            name = kernel_name(row["kernel"])
            launches, us = kernels.get(name, (0, 0.0))
            kernels[name] = (launches + row["launches"], us + row["us"])
        found[block["shape"]] = Measured(profile["launches"], profile["total_us"], kernels)
    return found


def estimate(members: list[Pass], training: bool, number: int) -> int | None:
    """The estimate for passes together, for the face block of a number; None: there is none."""
    estimates = ESTIMATES if training else INFERENCE_ESTIMATES
    names = {each.estimate for each in members} & estimates.keys()
    return sum(estimates[name][number] for name in names) if names else None


def timed(members: list[Pass], step: list[Pass], took: Measured) -> list[Pass]:
    """The passes of a group whose kernels are in a profile."""
    return [each for each in members if took.us(step, each.kernel) is not None]


def took_together(members: list[Pass], step: list[Pass], took: Measured) -> float | None:
    """Time of the kernels of a group's passes, µs; None: the profile has none of these."""
    kernels = {each.kernel for each in timed(members, step, took)}
    if not kernels:
        return None
    times = (took.us(step, kernel) for kernel in kernels)
    return math.fsum(time for time in times if time is not None)  # whatever the set's order


def in_groups(step: list[Pass]) -> dict[str, list[Pass]]:
    """A step's passes by their group."""
    groups = dict.fromkeys(each.group for each in step)
    return {group: [each for each in step if each.group == group] for group in groups}


HEAD = ("pass", "kernel", "MB", "GFLOP", "floor, µs", "estimate, µs", "measured, µs", "x floor")


def table(
    s: Sizes, training: bool, machine: Machine, took: Measured | None, number: int | None
) -> list[tuple[str, ...]]:
    """Rows of a table under HEAD: each pass, and each group's sums.

    A time or an estimate that several passes share stands in the group's line alone.

    Args:
        s: a block's sizes.
        training: a step of which.
        machine: gives the floors.
        took: what was measured of the same shape; None: nothing.
        number: the shape's number among the estimates; None: no estimate.
    """
    step, lines = passes(s, training), []

    def line(members: list[Pass], name: str, kernel: str, us: float | None) -> tuple[str, ...]:
        guess = None if number is None else estimate(members, training, number)
        if len(members) == 1 and sum(e.estimate == members[0].estimate for e in step) > 1:
            guess = None
        floor = _floor(members, machine)
        # A pass that the profile lacks took an unknown time, so its floor is beside none.
        beside = _floor(timed(members, step, took), machine) if took else floor
        return _cells(name, kernel, [each.cost for each in members], (floor, beside), guess, us)

    for group, members in in_groups(step).items():
        for each in members:
            shared = sum(other.kernel == each.kernel for other in step) > 1
            us = took.us(step, each.kernel) if took and not shared else None
            lines.append(line([each], each.name, f"`{each.kernel}`", us))
        together = took_together(members, step, took) if took else None
        cells = line(members, f"{group}, {_launches(len(members))}", "", together)
        lines.append(tuple(f"**{cell}**" if cell else "" for cell in cells))
    ours = took_together(step, step, took) if took else None
    lines.append(line(step, f"all of these, {_launches(len(step))}", "", ours))
    if took and ours is not None:
        listed = len(timed(step, step, took))
        others = f"PyTorch's, {_launches(took.launches - listed)}, and what is not listed"
        lines.append((others, *[""] * 5, f"{took.total_us - ours:.1f}", ""))
    return lines


def _floor(members: list[Pass], machine: Machine) -> float:
    return sum(each.cost.floor_us(machine, "bfloat16") for each in members)


def _launches(number: int) -> str:
    return f"{number} launch" if number == 1 else f"{number} launches"


def _cells(
    name: str,
    kernel: str,
    costs: list[Cost],
    floors: tuple[float, float],
    guess: int | None,
    us: float | None,
) -> tuple[str, ...]:
    """Cells of a line; the floors of all passes, and of the passes with a time."""
    moved, flops = sum(cost.bytes for cost in costs), sum(cost.flops for cost in costs)
    floor, beside = floors
    return (
        name,
        kernel,
        f"{moved / 1e6:.1f}",
        f"{flops / 1e9:.1f}",
        f"{floor:.1f}",
        "" if guess is None else str(guess),
        "" if us is None else f"{us:.1f}",
        # Launches that move next to nothing are bound by the launch.
        "" if us is None or beside < 0.5 else f"{us / beside:.1f}",
    )
