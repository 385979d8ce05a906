"""Times of the GPU kernels."""

from __future__ import annotations

from benchmarks.tables.registry import Row, markdown, one, results, table

BEFORE = "h100-2026-11-26-before"


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
