"""Tells from what a command showed and left whether it kept the promises."""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.outcome import Outcome, one_line
from tests.faults.process import Result

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_DUMPS = (
    "Traceback (most recent call last)",
    "errors.pydantic.dev",
    "validation error for",
    "validation errors for",
    "API call failed",
    "csrc/",
)
# Python's own words where a sentence of ours should stand.
_UNCLEAR = re.compile(
    r"^mesm: (\[Errno \d+\] |'?NoneType|Expecting value|'[\w-]+' codec can't|KeyError|'[\w.]+'$|"
    r"list index out of range|unsupported operand|not enough values|too many values)"
)


def ended(result: Result, allowed: Iterable[int] = (0, 2)) -> Outcome | None:
    """A bad or refusing outcome by how a command ended; None where it says that all went well."""
    if result.code is None:
        return Outcome("crashed", f"{result.line}: hangs")
    if result.signal:
        return Outcome("crashed", f"{result.line}: ended by signal {result.signal}")
    shown = _COLOUR.sub("", result.out + "\n" + result.err)
    for dump in _DUMPS:
        if dump in shown:
            last = shown.strip().splitlines()[-1]
            return Outcome("traceback", f"{result.line}: {dump}: {last}")
    if result.code == 0:
        return None
    if result.code not in allowed:
        return Outcome(
            "traceback", f"{result.line}: status {result.code}: {one_line(shown[-300:])}"
        )
    return _refusal(result)


def _refusal(result: Result) -> Outcome:
    lines = [line for line in _COLOUR.sub("", result.err).split("\n") if line.strip()]
    if not lines:
        return Outcome("traceback", f"{result.line}: status {result.code} without a word")
    if any(line.startswith("Usage: ") for line in lines):
        return Outcome("refused", f"{result.line}: {one_line(lines[-2])}")
    # A bar of a training begins with its system, "train mesm: ".
    said = [line for line in lines if line.rpartition("\r")[2].startswith("mesm: ")]
    while len(lines) > 1 and lines[-1].startswith("  ") and "\r" not in lines[-1]:
        del lines[-1]  # the parts of a message that tells of several problems
    last = re.sub(r"^.*\r +\r", "", lines[-1])  # a bar that was wiped away
    problem = ""
    if not said:
        problem = "no line that begins with mesm:"
    elif len(said) > 1 and result.code == 2:  # an experiment tells of each cell with status 1
        problem = "several messages"
    elif not last.startswith("mesm: "):
        problem = "the message is not the last line, or stands inside a progress bar"
    elif "\r" in last:
        problem = "a progress bar in the message"
    elif _UNCLEAR.match(last):
        problem = "names no file and no mend"
    elif len(last) > 1500:
        problem = f"a message of {len(last)} letters"
    if problem:
        return Outcome("traceback", f"{result.line}: {problem}: {one_line(last)}")
    return Outcome("refused", f"{result.line}: {one_line(last)}")


def not_finite(folder: Path) -> str | None:
    """The first number below a folder's JSON and Parquet files that is not finite, or None."""
    for file in sorted(folder.rglob("*")):
        if "tensorboard" in file.parts or not file.is_file() or file.is_symlink():
            continue
        if file.suffix in (".json", ".jsonl"):
            text = file.read_text(encoding="utf-8")
            for part in text.splitlines() if file.suffix == ".jsonl" else [text]:
                if found := _bad_number(json.loads(part)):
                    return f"{file.name}: {found}"
        elif file.suffix == ".parquet":
            table = pq.read_table(file, use_threads=False, partitioning=None)
            gaps = file.parent.name == "features"  # NaN stands there for what was not measured
            for name in table.column_names:
                if _bad_column(table[name], gaps):
                    return f"{file.name}: column {name}"
    return None


def beyond_float32(value: Any) -> bool:
    """Whether a number inside what a JSON file holds is greater than float32's greatest."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(map(beyond_float32, value))
    return isinstance(value, int | float) and abs(value) > float(np.finfo(np.float32).max)


def _bad_number(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for part in inner if (found := _bad_number(part))), None)


def _bad_column(column: pa.ChunkedArray, gaps: bool) -> bool:
    for chunk in column.chunks:
        values = chunk
        while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
            values = values.flatten()
        if pa.types.is_floating(values.type):
            numbers = values.to_numpy(zero_copy_only=False)
            if np.isinf(numbers).any() or (not gaps and np.isnan(numbers).any()):
                return True
    return False


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same but for where their files lie."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def stray(folder: Path, known: Iterable[str]) -> str | None:
    """Something beside or above a sandbox that a command must not have made, or None."""
    names = {*known}
    new = [path.name for path in folder.iterdir() if path.name not in names]
    beside = [path.name for path in folder.parent.iterdir() if path != folder]
    return f"made {', '.join(sorted(new + beside))}" if new or beside else None


ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
