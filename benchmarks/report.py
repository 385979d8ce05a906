"""The benchmark's rows as a table to read and as JSON to keep."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

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
    ("GFLOP/s", 9),
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
    cells["p"] = "" if row.get("p") is None else f"{row['p']:.1f}"
    if "error" in row:
        return _join(cells) + f"  no ratio, {row['error']}"
    low, high = row["ratio_quartiles"]
    rival_flops = row.get("rival_flops", row["dense_flops"])
    rates = (row["flops"] / row["ms"] / 1e6, rival_flops / row["rival_ms"] / 1e6)
    cells |= {
        "active": f"{row['density']:.3f}",
        "GFLOP": f"{row['flops'] / 1e9:.2f}",
        "of dense": f"{row['flops'] / row['dense_flops']:.3f}",
        "ms": f"{row['ms']:.2f}",
        "rival ms": f"{row['rival_ms']:.2f}",
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


def machine(threads: int) -> dict[str, Any]:
    """Where and with what a measurement was taken."""
    facts: dict[str, Any] = {
        "device": "cpu",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "git_commit": _git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        extension = importlib.import_module("mesm_ops._C")
    except ImportError:
        facts["mesm_ops"] = "reference only"
    else:
        facts["mesm_ops"] = {
            **extension.build_info(),
            "cpu_capability": extension.cpu_capability(),
        }
    return facts


def cpu_model() -> str:
    """The processor's own name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git_commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + (" with local changes" if changed else "")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside and rename, so that a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    beside.replace(path)
