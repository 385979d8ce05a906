"""The GPU benchmark in words: a line for each row at once, and one page of all rows."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu.row import Facts
from benchmarks.report import aligned, table
from benchmarks.shapes import HEADLINE_P

AT_LEAST = ("ratio",)  # goals that are lower bounds; all others are upper bounds
KERNELS_SHOWN = 12
GOAL_WORDS = {
    "ratio": "times faster than the better dense",
    "peak_of_dense": "of dense's peak memory",
    "launches": "launches",
    "host_us": "µs on the host",
    "cold_s": "s with empty caches",
    "warm_s": "s with filled caches",
}


def line(row: Facts) -> str:
    """One row in a line."""
    named = row["what"] in row["row"]
    return f"{row['row']}{'' if named else ', ' + row['what']}: {_said(row)}"


def _said(row: Facts) -> str:
    if "error" in row:
        return str(row["error"])
    if "kernels" in row:
        return f"{row['total_us']:.1f} µs in {row['launches']} launches"
    if "counters" in row:
        return f"{len(row['counters'])} launches watched"
    if "first_step_s" in row:
        return f"{row['first_step_s']:.1f} s, the second {row['second_step_s']:.2f} s"
    if "frames_per_s" in row:
        rates = f"{row['frames_per_s']:.0f} frames/s, a CPU {row['cpu_frames_per_s']:.0f}"
        return f"{rates}, boxes to {row['gate_error']:.1g} pixels"
    if "copy_gb_per_s" in row:
        rates = [f"{row[f'{name}_tflop_per_s']:.1f} TFLOP/s {name}" for name in _DTYPES]
        return ", ".join([f"{row['copy_gb_per_s']:.0f} GB/s", *rates])
    parts = [f"{row['ms'] * 1e3:.1f} µs"]
    if "rivals_ms" in row:
        parts += [f"dense {name} {ms * 1e3:.1f}" for name, ms in row["rivals_ms"].items()]
        parts += [f"{name} {why}" for name, why in row.get("notes", {}).items() if "not" in why]
        parts.append(f"{row['ratio']:.2f}x")
    elif "dense_ms" in row:
        parts.append(f"dense {row['dense_ms'] * 1e3:.1f}")
    if "tflop_per_s" in row:
        parts.append(f"{row['tflop_per_s']:.0f} TFLOP/s")
    if "host_us" in row:
        parts.append(f"host {row['host_us']:.0f} µs, dense {row['rival_host_us']:.0f}")
        parts.append(f"{row['launches']} launches, dense {row['rival_launches']}")
    if row.get("peak_mib"):
        parts.append(f"peak {row['peak_mib']:.0f} MiB, dense {row['dense_peak_mib']:.0f}")
    return ", ".join(parts)


_DTYPES = ("bfloat16", "float32")


def page(content: Facts, missing: list[str]) -> list[str]:
    """All results on one page of text.

    Args:
        content: the content of the JSON file.
        missing: names of the rows that were not measured for lack of time.
    """
    machine, rows = content["machine"], content["rows"]
    good = [row for row in rows if "error" not in row]
    lines = [
        f"{machine['name']}, torch {machine['torch']}, triton {machine.get('triton')}, "
        f"driver {machine.get('driver')}",
        f"commit {machine['git_commit']}, sources {content['sources']}, {machine['date']}",
        *(line(row) for row in good if row["group"] == "ceilings"),
    ]
    sections = {
        "Goals": _goals(good),
        "Against dense PyTorch": _ratios(good),
        "Called from Python": _host(good),
        "Face detector": [line(row) for row in good if "frames_per_s" in row],
        "First training step": [line(row) for row in good if "first_step_s" in row],
        "Ops beside their floors": floor_table(good),
        "Time per kernel": [*_kernels(good)],
        "Counters of the convolutions": [*_counters(good)],
        "Not measured": _absent(rows, missing),
    }
    return lines + _titled(sections)


def ending(content: Facts, missing: list[str]) -> list[str]:
    """The lines to print last: goals, rows that were not measured, and counts."""
    rows = content["rows"]
    goals = _goals([row for row in rows if "error" not in row])
    sections = {"Goals": goals, "Not measured": _absent(rows, missing)}
    verdicts = [text.rsplit(None, 1)[-1] for text in goals]
    met, missed = verdicts.count("met"), verdicts.count("MISSED")
    errors = sum("error" in row for row in rows)
    counts = f"{len(rows)} rows, {errors} of them errors; {met} goals met, {missed} missed"
    return [*_titled(sections), "", counts]


def _titled(sections: dict[str, list[str]]) -> list[str]:
    lines: list[str] = []
    for title, text in sections.items():
        if text:
            lines += ["", title, "=" * len(title), *text]
    return lines


def _absent(rows: list[Facts], missing: list[str]) -> list[str]:
    failed = [line(row) for row in rows if "error" in row]
    return [*failed, *(f"{name}: no time was left" for name in missing)]


def _goals(rows: list[Facts]) -> list[str]:
    cells = [("row", "wanted", "measured", "")]
    for row in rows:
        for key, goal in row.get("goals", {}).items():
            met = row[key] >= goal if key in AT_LEAST else row[key] <= goal
            sign = "≥" if key in AT_LEAST else "≤"
            wanted = f"{sign} {goal:g} {GOAL_WORDS[key]}"
            cells.append((row["row"], wanted, f"{row[key]:.2f}", "met" if met else "MISSED"))
    return aligned(cells) if len(cells) > 1 else []


def _ratios(rows: list[Facts]) -> list[str]:
    compared = [row for row in rows if "ratio" in row]
    if not compared:
        return []
    return [
        "ratio: the better dense run's time over ours, medians of rounds in turns. Pairs are "
        "ours/rival.",
        *table(compared),
    ]


def _host(rows: list[Facts]) -> list[str]:
    cells = [("row", "host µs", "dense", "launches", "dense")]
    for row in rows:
        if "host_us" in row:
            host = (f"{row['host_us']:.0f}", f"{row['rival_host_us']:.0f}")
            cells.append((row["row"], *host, str(row["launches"]), str(row["rival_launches"])))
    return aligned(cells) if len(cells) > 1 else []


def floor_table(rows: list[Facts]) -> list[str]:
    """Each op and block at the headline p: floor, share of the floor reached, dense time."""
    heads = ("op", "shape", "dtype", "floor µs", "took µs", "of floor", "dense µs")
    lines = [heads]
    for row in rows:
        if "bytes" not in row or row["p"] != HEADLINE_P:
            continue
        took, floor = row["ms"] * 1e3, row.get("floor_us")
        dense = row.get("dense_ms", row.get("rival_ms"))
        lines.append(
            (
                *(row["what"], row["shape"], row["dtype"]),
                "?" if floor is None else f"{floor:.1f}",
                f"{took:.1f}",
                "?" if floor is None else f"{floor / took:.0%}",
                "" if dense is None else f"{dense * 1e3:.1f}",
            )
        )
    return aligned(lines) if len(lines) > 1 else []


def _kernels(rows: list[Facts]) -> Iterator[str]:
    for row in rows:
        if "kernels" not in row:
            continue
        yield f"{row['what']}, {row['shape']}: {_said(row)}"
        for kernel in row["kernels"][:KERNELS_SHOWN]:
            yield f"  {kernel['us']:9.1f} µs  x{kernel['count']:<5.3g} {kernel['name'][:100]}"


def _counters(rows: list[Facts]) -> Iterator[str]:
    for row in rows:
        for launch in row.get("counters", ()):
            yield f"{row['shape']}: {launch['kernel'][:100]}"
            yield "  " + ", ".join(f"{name} {value}" for name, value in launch["counters"].items())
