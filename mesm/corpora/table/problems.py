"""Faults of a table, collected, so that all of them are told at once."""

from __future__ import annotations

from pathlib import Path

MOST_SHOWN = 20


class TableError(ValueError):
    """A table that cannot be read as clips.

    Attributes:
        head: the file, and how much is wrong with it.
        lines: what is wrong, by line, at most 20; then how many more there are.
    """

    def __init__(self, head: str, lines: list[str]) -> None:
        super().__init__("\n  ".join([f"{head}:", *lines]))
        self.head, self.lines = head, lines


class Problems:
    """Collects what is wrong, each with its line and its column.

    Args:
        file: the table.
        unit: what its lines are called, "line" or "row".

    Attributes:
        head: the line with the columns' names; None: there is none.
    """

    def __init__(self, file: Path, unit: str = "line") -> None:
        self.file, self.unit = file, unit
        # Only delimited tables have a line that names their columns.
        self.head = 1 if file.suffix.lower() in (".csv", ".tsv") else None
        self._found: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int | None, column: str | None, message: object) -> None:
        """Note one; None: it belongs to no single line, or to no single column."""
        where = [] if line is None else [f"{self.unit} {line}"]
        where += [] if column is None else [f"column {column}"]
        place = ", ".join(where)
        self._found.append((line or 0, f"{place}: {message}" if place else str(message)))

    def in_head(self, column: str | None, message: object) -> None:
        """Note one that is in the line with the columns' names."""
        self.add(self.head, column, message)

    def refuse(self) -> None:
        """Raise TableError if there is any."""
        if not self._found:
            return
        lines = [text for _, text in sorted(self._found, key=lambda found: found[0])]
        shown, more = lines[:MOST_SHOWN], len(lines) - MOST_SHOWN
        shown += [f"and {more} more"] if more > 0 else []
        things = "1 thing is" if len(lines) == 1 else f"{len(lines)} things are"
        raise TableError(f"{self.file}: {things} wrong", shown)
