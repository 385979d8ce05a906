"""Times of the GPU kernels."""

from __future__ import annotations

import json

from benchmarks.environment import ROOT
from benchmarks.floors import passes
from benchmarks.floors.sizes import Sizes
from benchmarks.gpu.plan import (
    EAGER_GOALS,
    EAGER_MODEL_GOALS,
    FULL_P_GOAL,
    INFERENCE_GOAL,
    LOW_P_GOALS,
    MODEL_GOALS,
    TRAINING_GOAL,
)
from benchmarks.report import markdown
from benchmarks.shapes import FACE_BLOCKS, HEADLINE_P, LOW_P, QUERY_DIM
from benchmarks.tables.registry import Row, one, results, table

BEFORE = "h100-2026-11-26-before"
DENSE = "h100-2026-11-26-dense"
REDESIGN = "h100-2026-11-26-redesign"
CHOICES = ROOT / "mesm_ops/triton/configs"
FACES = tuple(map(str, FACE_BLOCKS))
UNMEASURED = "not measured"


@table("gpu-before")
def before() -> str:
    """Each row of the blocks before the kernels were redesigned, an error where there was one."""
    rows = [row for row in results(BEFORE)["rows"] if row["rival"] != "none"]
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    lines = []
    for what in dict.fromkeys(row["what"] for row in rows):
        for p in dict.fromkeys(row["p"] for row in rows):
            found = (one(rows, what=what, p=p, shape=shape) for shape in shapes)
            lines.append((f"{what}, p = {p:g}", *map(_times, found)))
    return markdown(("µs, ours / dense eager", *shapes), lines)


def _times(row: Row) -> str:
    if "error" in row:
        return "not measured: " + row["error"].removeprefix("AcceleratorError: ")
    return f"{row['ms'] * 1e3:.0f} / {row['rival_ms'] * 1e3:.0f}"


@table("gpu-blocks")
def blocks() -> str:
    """Blocks replayed from graphs: redesigned, before, and dense in the run of before."""
    redesigned = results(REDESIGN)["blocks"]
    rows = [*results(DENSE)["rows"], *map(_as_dense, results(BEFORE)["rows"])]
    lines = []
    for what, name in (
        ("block inference", "inference_us"),
        ("block training step", "training_step_us"),
    ):
        found = [_first(rows, what, shape) for shape in FACES]
        times = (one(redesigned, shape=shape)[name] for shape in FACES)
        lines.append((f"{what}, **redesigned**", *(f"**{us:.0f}**" for us in times)))
        lines.append((f"{what}, before the redesign", *(f"{row['us']:.0f}" for row in found)))
        for rival, words in (("eager", "dense eager"), ("max-autotune", "dense compiled")):
            cells = (row["rivals_us"].get(rival) for row in found)
            lines.append((f"{what}, {words}", *(f"{us:.0f}" if us else UNMEASURED for us in cells)))
    return markdown(("µs", *FACES), lines)


def _as_dense(row: Row) -> Row:
    """A row of `make gpu`'s results in the form of those beside it."""
    if "error" in row:
        return row
    return row | {"us": row["ms"] * 1e3, "rivals_us": {"eager": row["rival_ms"] * 1e3}}


def _first(rows: list[Row], what: str, shape: str) -> Row:
    wanted = {"what": what, "shape": shape, "p": HEADLINE_P}
    return next(row for row in rows if wanted.items() <= row.items() and "us" in row)


@table("gpu-steps")
def steps() -> str:
    """Launches, calls from Python and memory of the same training steps."""
    found = [one(results(REDESIGN)["blocks"], shape=shape) for shape in FACES]
    launches = (
        "{} / {}".format(*(each["kernels"][step]["launches"] for step in passes.STEPS.values()))
        for each in found
    )
    return markdown(
        ("", *FACES),
        [
            ("launches, training step / inference", *launches),
            (
                "training step called from Python, ms",
                *(f"{each['eager_training_step_us'] / 1e3:.1f}" for each in found),
            ),
            ("its time on the host, ms", *(f"{each['training_host_ms']:.1f}" for each in found)),
            ("peak memory, MiB", *(str(each["training_peak_mib"]) for each in found)),
        ],
    )


@table("gpu-groups")
def groups() -> str:
    """Where the time of the blocks goes, beside the design's estimates."""
    lines = []
    for training in passes.STEPS:
        took = passes.measured(training)
        found: dict[str, list[str]] = {}
        for number, shape in enumerate(FACE_BLOCKS):
            # No sizes are needed for which kernels there are.
            step = passes.passes(Sizes(shape, 8, 1, QUERY_DIM, 0, 0, 0), training)
            profile = took[str(shape)]
            for group, members in passes.in_groups(step).items():
                guess = passes.estimate(members, training, number)
                us = passes.took_together(members, step, profile)
                found.setdefault(group, []).append(_beside(guess, us))
            guess = passes.estimate(step, training, number)
            ours = passes.took_together(step, step, profile)
            found.setdefault("all of these", []).append(_beside(guess, ours))
            others = _beside(None, profile.total_us - (ours or 0.0))
            # A kernel that another replaced after the measurement is no pass either.
            found.setdefault("PyTorch, and kernels replaced since", []).append(others)
        lines += [(f"{passes.STEPS[training]}: {group}", *cells) for group, cells in found.items()]
    return markdown(("µs, estimated / measured", *FACES), lines)


def _beside(guess: int | None, us: float | None) -> str:
    """An estimate and a measured time, a dash for one that there is not."""
    return f"{'–' if guess is None else guess} / {'–' if us is None else f'{us:.0f}'}"


@table("gpu-convolutions")
def convolutions() -> str:
    """The convolutions alone."""
    rows = [row for row in results(REDESIGN)["convolutions"]["rows"] if _is_built(row)]
    return _of_convolutions(rows)


@table("gpu-convolutions-not-built")
def convolutions_not_built() -> str:
    """The same with two consumer warpgroups, by their tile."""
    content = results(REDESIGN)
    rows = content["convolutions_not_built"]["rows"]
    built = [
        row | {"tile": "as built"} for row in content["convolutions"]["rows"] if _is_built(row)
    ]
    same = [
        row
        for row in (*built, *rows)
        if (row["cin"], row["epilogue"], row["transposed"]) == (row["cout"], "none", False)
    ]
    return _of_convolutions(same)


def _is_built(row: Row) -> bool:
    """Whether a tile is as wide as `choice.possible` has it."""
    wide: bool = row["tile"] == f"128x{min(128, row['cout'])}"
    return wide


def _of_convolutions(rows: list[Row]) -> str:
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        shape = next(shape for shape in FACE_BLOCKS if str(shape) == row["shape"])
        second = row["cin"] == row["cout"]
        what = f"{'input gradient' if row['transposed'] else 'convolution'} {2 if second else 1}"
        end = {"none": "", "norm": ", with norm", "moments": ", with statistics"}
        what += end.get(row["epilogue"], ", with the norm's sums")
        if "x" not in row["tile"] or not _is_built(row):
            what += f", {row['tile']}"
        lines.setdefault(what, {})[str(shape)] = f"{row['us']:.1f} ({row['tile_tflop_per_s']})"
    head = ("µs (TFLOP/s over whole tiles)", *FACES)
    return markdown(
        head,
        [(what, *(cells.get(face, UNMEASURED) for face in FACES)) for what, cells in lines.items()],
    )


@table("gpu-gradient-error")
def gradient_error() -> str:
    """The largest relative error of a gradient in training; that of score.bias is all rounding."""
    errors = [
        error
        for each in results(REDESIGN)["blocks"]
        for name, error in each["agreement"]["training"]["relative_errors_of_gradients"].items()
        if name != "score_bias"
    ]
    return f"{max(errors):.0%}"  # the log has one digit


@table("gpu-choices")
def choices() -> str:
    """The choices that are shipped, by GPU."""
    lines = []
    for path in sorted(CHOICES.glob("*.json")):
        content = json.loads(path.read_text())
        for kernel in ("convolution", "weight_gradient"):
            for turned in (False, True):
                rows = [row for row in content[kernel] if row["transposed"] == turned]
                cells = ", ".join(map(_choice, rows))
                name = "input gradient" if turned else kernel.replace("_", " ")
                if rows:
                    lines.append((content["gpu"], f"{8 * rows[0]['itemsize']}", name, cells))
    return markdown(("GPU", "bits", "product", "channels, kernel, µs"), lines)


def _choice(row: Row) -> str:
    kind = "Gluon" if row["hopper"] else "plain"
    return f"{row['cin']}→{row['cout']} {kind} {row['us']}"


@table("gpu-goals")
def goals() -> str:
    """The goals that `make gpu` holds the block and MESM to."""
    half, (low, least) = f"p = {HEADLINE_P}", LOW_P
    steps = ("inference", "training step")
    lines = [
        (f"block, {half}, graphs", *(f"{goal} x" for goal in (INFERENCE_GOAL, TRAINING_GOAL))),
        (f"block, p = {low} and {least}, graphs", *(f"{goal} x" for goal in LOW_P_GOALS)),
        ("block, p = 1, graphs", *[f"{FULL_P_GOAL} x"] * 2),
        (f"MESM beside FE2E, {half}, 64 clips, graphs", *(f"{goal} x" for goal in MODEL_GOALS)),
        ("the same, called from Python", *(f"{goal} x" for goal in EAGER_MODEL_GOALS)),
        ("launches of a block", "", f"{EAGER_GOALS['launches']}"),
        ("time on the host of a block", "", f"{EAGER_GOALS['host_us']:.0f} µs"),
    ]
    return markdown(("at least so often dense's speed, or at most", *steps), lines)
