"""A table as a value: cells that know their full figure and their text, and notes below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

DASH = "–"
PAPER = "paper"


@dataclass(frozen=True)
class Cell:
    """One figure.

    Attributes:
        text: as it is read.
        value: what stands in the JSON file, at full precision; None where there is nothing.
    """

    text: str
    value: Any = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Row:
    """One line; `kind` tells lines apart that look different, such as the paper's ("paper")."""

    kind: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table with what must be known to read it.

    Attributes:
        name: stem of its files.
        title: one line above.
        groups: (name, columns it spans), over the head; as many columns in all as the head has.
        head: a name per column.
        rows: each as wide as the head.
        notes: sentences below.
        provenance: for the JSON file: where the figures are from.
    """

    name: str
    title: str
    groups: tuple[tuple[str, int], ...]
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        width = len(self.head)
        widths = {len(row.cells) for row in self.rows} | {sum(span for _, span in self.groups)}
        if widths - {width}:
            raise ValueError(f"{self.name}: {width} columns, but rows or groups of {widths}")

    @property
    def caption(self) -> str:
        """The notes as one paragraph."""
        return " ".join(self.notes)


def row(kind: str, *cells: object) -> Row:
    """A line of cells; what is no `Cell` yet is shown as it is, and is its own value."""
    return Row(
        kind,
        tuple(cell if isinstance(cell, Cell) else Cell(str(cell), cell) for cell in cells),
    )


def percent(share: float | None, digits: int = 1) -> str:
    """0.5 → "50.0"; None → a dash."""
    return DASH if share is None else f"{100 * share:.{digits}f}"


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample deviation (n - 1 below the line; None of a single value) and the values."""
    return {
        "mean": fmean(values),
        "deviation": stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


def spread(values: Sequence[float | None], digits: int = 1, scale: float = 1.0) -> Cell:
    """Values over the seeds as "57.4 ± 1.2"; no deviation of one, a dash of none.

    Args:
        values: one per seed; None where a seed has none, which is left out.
        digits: after the point.
        scale: of the text, e.g. 100 for percent; the JSON value is not scaled.
    """
    known = [value for value in values if value is not None]
    if not known:
        return Cell(DASH)
    facts = summarise(known)
    text = f"{scale * facts['mean']:.{digits}f}"
    if facts["deviation"] is not None:
        text += f" ± {scale * facts['deviation']:.{digits}f}"
    return Cell(text, facts)


def printed(value: float | None, digits: int = 1, factor: float = 1.0) -> Cell:
    """A figure of the paper, times `factor` where it counts otherwise than we do."""
    return Cell(DASH) if value is None else Cell(f"{factor * value:.{digits}f}", factor * value)
