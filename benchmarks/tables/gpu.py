"""Times of the GPU kernels."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.environment import ROOT
from benchmarks.floors import passes
from benchmarks.floors.sizes import Sizes
from benchmarks.gpu import plan
from benchmarks.gpu.report import AT_LEAST, GOAL_WORDS
from benchmarks.report import markdown
from benchmarks.shapes import FACE_BLOCKS, HEADLINE_P, LONG_BATCHES, LOW_P, OTHER_P, QUERY_DIM
from benchmarks.tables.registry import Row, one, results, table

BEFORE = "h100-2026-11-26-before"
REDESIGN = "h100-2026-11-26-redesign"
FIRST = "h100-2026-11-27-first"  # the run in which dense was compiled
RUN = "h100-2026-11-27"
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


@table("gpu-compiled")
def compiled() -> str:
    """Blocks at the headline's p, replayed from graphs, beside eager and compiled dense."""
    rows = results(FIRST)["rows"]
    lines = []
    for what in ("block inference", "block training step"):
        found = [_found(rows, what=what, p=HEADLINE_P, shape=shape) for shape in FACES]
        lines.append((what, *map(_compared, found)))
        lines.append((f"{what}, dense eager", *(_eager(row) for row in found)))
    return markdown(("µs, ours / the better dense", *FACES), lines)


@table("gpu-short")
def short() -> str:
    """The ratios of the table above in a line: the least and the most."""
    rows = results(FIRST)["rows"]
    words = []
    for what, name in (("inference", "inference"), ("training step", "training steps")):
        found = [row for row in rows if row["what"] == f"block {what}" and row["p"] == HEADLINE_P]
        times = [f"{pick(row['ratio'] for row in found):.2f}" for pick in (min, max)]
        words.append(f"{name} {' to '.join(times)} times as fast")
    return ", ".join(words)


def _eager(row: Row | None) -> str:
    return UNMEASURED if row is None else f"{row['rivals_ms']['eager'] * 1e3:.0f}"


@table("gpu-blocks")
def blocks() -> str:
    """Blocks replayed from graphs beside eager dense, at every p."""
    rows = [row for row in results(RUN)["rows"] if row.get("dtype") == "bfloat16"]
    lines = []
    for p in sorted({*LOW_P, HEADLINE_P, *OTHER_P, 1.0}):
        for what in ("block inference", "block training step"):
            cells = (_compared(_found(rows, what=what, p=p, shape=shape)) for shape in FACES)
            lines.append((f"{what}, p = {p:g}", *cells))
    return markdown(("µs, ours / dense", *FACES), lines)


@table("gpu-models")
def models() -> str:
    """MESM beside FE2E, replayed from graphs and called from Python."""
    rows = [row for row in results(RUN)["rows"] if row.get("dtype") == "bfloat16"]
    names = [str(clips.count) + " clips" for clips in reversed(LONG_BATCHES)]
    lines = []
    for how, words in (("", "graphs"), ("eager ", "called from Python")):
        for what in ("MESM inference", "MESM training step"):
            found = (_found(rows, what=how + what, p=HEADLINE_P, shape=name) for name in names)
            cells = (_compared(row, 1) for row in found)
            lines.append((f"{what}, {words}", *cells))
    return markdown((f"ms, MESM at p = {HEADLINE_P:g} / the better FE2E", *names), lines)


@table("gpu-eager")
def eager() -> str:
    """Training steps of blocks called from Python."""
    found = [
        _found(results(RUN)["rows"], what="eager block training step", shape=shape)
        for shape in FACES
    ]
    lines = [("ms, ours / the better dense", *(_compared(row, 2) for row in found))]
    for words, name in (
        ("launches, ours / dense eager", "launches"),
        ("µs on the host, likewise", "host_us"),
    ):
        cells = (
            f"{row[name]:.0f} / {row[f'rival_{name}']:.0f}" if row else UNMEASURED for row in found
        )
        lines.append((words, *cells))
    return markdown(("training step called from Python", *FACES), lines)


@table("gpu-memory")
def memory() -> str:
    """The peak of a training step's memory."""
    rows = [row for row in results(RUN)["rows"] if row.get("dtype") == "bfloat16"]
    found = [
        (shape, _found(rows, what="block training step", p=HEADLINE_P, shape=shape))
        for shape in FACES
    ]
    for clips in reversed(LONG_BATCHES):
        name = f"{clips.count} clips"
        row = _found(rows, what="MESM training step", p=HEADLINE_P, shape=name)
        found.append((f"MESM, {name}", row))
    cells = (
        f"{row['peak_mib']:.0f} / {row['dense_peak_mib']:.0f}" if row else UNMEASURED
        for _, row in found
    )
    return markdown(
        ("MiB, training step", *(name for name, _ in found)), [("ours / dense eager", *cells)]
    )


def _found(rows: list[Row], **wanted: Any) -> Row | None:
    """The measured row with these values, if there is one."""
    matching = (row for row in rows if wanted.items() <= row.items() and "ratio" in row)
    return next(matching, None)


def _compared(row: Row | None, digits: int = 0) -> str:
    """Our time, the better rival's and the better rival's over ours: µs without digits, else ms."""
    if row is None:
        return UNMEASURED
    scale = 1.0 if digits else 1e3
    ours, dense = (f"{row[name] * scale:.{digits}f}" for name in ("ms", "rival_ms"))
    which = row["rival"].rsplit(None, 1)[-1]
    return f"{ours} / {dense} {which}: **{row['ratio']:.2f}x**"


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
    """Whether a tile is as wide as `choice.possible` allows."""
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
    """Every goal that `make gpu` holds the block and MESM to, and what was measured."""
    lines = []
    for row in plan.rows(plan.setting_of("cuda", ROOT, small=False)):
        for key, goal in row.goals.items():
            wanted = f"{'≥' if key in AT_LEAST else '≤'} {goal:g} {GOAL_WORDS[key]}"
            made = _judged(row.name, key)
            if made is None:
                lines.append((row.name, wanted, UNMEASURED, ""))
                continue
            digits = 2 if goal < 10 else 0
            met = made[key] >= goal if key in AT_LEAST else made[key] <= goal
            verdict = "met" if met else "**missed**"
            if key == "ratio" and "compiled" not in made["rivals_ms"]:
                verdict = "**missed**, and compiled dense was not there" if not met else UNMEASURED
                verdict += "" if not met else ": compiled dense was not there"
            lines.append((row.name, wanted, f"{made[key]:.{digits}f}", verdict))
    return markdown(("", "wanted", "measured", ""), lines)


def _judged(name: str, key: str) -> Row | None:
    """The row by which a goal is judged: a ratio's with compiled dense if there is one."""
    found = [
        row
        for run in (RUN, FIRST)
        for row in results(run)["rows"]
        if row["row"] == name and key in row and "error" not in row
    ]
    if key == "ratio":
        found.sort(key=lambda row: "compiled" not in row["rivals_ms"])
    return found[0] if found else None
