"""Rows as a table, for a terminal or in Markdown, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    ("shape", 18),
    ("rival", 16),
    ("p", 4),
    ("active", 7),
    ("GFLOP", 8),
    ("of dense", 8),
    ("ms", 8),
    ("rival ms", 8),
    ("ratio", 6),
    ("quartiles", 10),
    ("spread", 9),
    ("GFLOP/s", 13),
    ("MiB", 9),
)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One line per row under a heading; a ratio below 1 means slower than the rival."""
    lines = [" ".join(name.rjust(width) for name, width in COLUMNS)]
    for group in dict.fromkeys(row["group"] for row in rows):
        lines += ["", f"  {group}"]
        lines += [_line(row) for row in rows if row["group"] == group]
    return lines


def _line(row: dict[str, Any]) -> str:
    cells = dict.fromkeys((name for name, _ in COLUMNS), "")
    cells |= {"shape": row["shape"], "rival": row["rival"]}
    cells["p"] = "" if row.get("p") is None else f"{row['p']:g}"
    if "error" in row:
        return _join(cells) + f"  no ratio, {row['error']}"
    low, high = row["ratio_quartiles"]
    rival_flops = row.get("rival_flops", row["dense_flops"])
    rates = (row["flops"] / row["ms"] / 1e6, rival_flops / row["rival_ms"] / 1e6)
    cells |= {
        "active": f"{row['density']:.3f}",
        "GFLOP": f"{row['flops'] / 1e9:.2f}",
        "of dense": f"{row['flops'] / row['dense_flops']:.3f}",
        "ms": milliseconds(row["ms"]),
        "rival ms": milliseconds(row["rival_ms"]),
        "ratio": f"{row['ratio']:.2f}",
        "quartiles": f"{low:.2f}–{high:.2f}",
        "spread": f"{row['spread']:.0%}/{row['rival_spread']:.0%}",
        "GFLOP/s": "{:.0f}/{:.0f}".format(*rates),
    }
    if row.get("peak_mib") is not None:
        cells["MiB"] = f"{row['peak_mib']:.0f}/{row['dense_peak_mib']:.0f}"
    return _join(cells)


def _join(cells: dict[str, str]) -> str:
    return " ".join(cells[name].rjust(width) for name, width in COLUMNS)


def milliseconds(value: float) -> str:
    """Milliseconds with at least four digits, which a GPU's times need."""
    return f"{value:.2f}" if value >= 10 else f"{value:.3f}"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells as text, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    for line in lines:
        if len(line) != len(head):
            raise ValueError(f"a row of {len(line)} cells under a head of {len(head)}: {line}")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside and rename, so that a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    beside.replace(path)
