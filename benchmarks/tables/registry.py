"""The tables by name, and what the functions behind them share."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.environment import ROOT

Table = Callable[[], str]
Row = dict[str, Any]

TABLES: dict[str, Table] = {}


def table(name: str) -> Callable[[Table], Table]:
    """Make a function the source of every region of that name."""

    def register(function: Table) -> Table:
        if name in TABLES:
            raise ValueError(f"there are two tables named {name}")
        TABLES[name] = function
        return function

    return register


def load() -> dict[str, Table]:
    """All tables by name."""
    for module in (
        *("backends", "cpu", "experiment", "faults", "gpu", "learning", "predicting", "roofline"),
        *("scaling", "scaling_check", "scaling_costs"),
    ):
        importlib.import_module(f"benchmarks.tables.{module}")
    return TABLES


def results(name: str) -> dict[str, Any]:
    """The content of benchmarks/results/<name>.json."""
    content: dict[str, Any] = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())
    return content


def one(rows: Iterable[Row], **wanted: Any) -> Row:
    """The single row with these values.

    Raises:
        LookupError: no row has these values, or several rows have.
    """
    found = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    if len(found) != 1:
        raise LookupError(f"wanted one row with {wanted}, found {len(found)}")
    return found[0]
