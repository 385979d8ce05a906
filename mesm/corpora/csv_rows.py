"""Rows of CSV files written by hand: a row that is broken costs itself, and no other."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

# Lines that one cell may go on in.
LONGEST_CELL = 20


def read_rows(text: str) -> tuple[list[str], Iterator[tuple[int, list[str], str]]]:
    """Split a CSV file into its header and its rows.

    Args:
        text: the file's content.

    Returns:
        The header, and each row's first line, its cells as far as they can be read, and what is
        wrong with it, or "".
    """
    lines = [line for line in re.split(r"(?<=\n)|(?<=\r)(?!\n)", text) if line]
    try:
        header = next(csv.reader(lines[:1]), [])
    except csv.Error:
        header = []
    return header, _read_rows(lines, len(header))


def unfit(header: Sequence[str], columns: Sequence[str]) -> str:
    """Say why a file with this header has not these columns; "" if it has each once."""
    for column in columns:
        if header.count(column) != 1:
            return f"column {column} twice" if column in header else f"no column {column}"
    return ""


def _read_rows(lines: Sequence[str], width: int) -> Iterator[tuple[int, list[str], str]]:
    i = 1
    while i < len(lines):
        first = i
        row, open_quote = _cells(lines[i])
        i += 1
        if open_quote:
            # A cell may go on in lines of less than a row; else a quote was not closed, and
            # reading on would take the next rows for this cell.
            taken = lines[first]
            for line in lines[i : i + LONGEST_CELL]:
                if len(_cells(line)[0]) >= width:
                    break
                taken += line
                i += 1
                row, open_quote = _cells(taken)
                if not open_quote:
                    break
        if open_quote:
            i = first + 1
            yield first + 1, _cells(lines[first])[0], "a quote is not closed"
        elif row is not None and any(cell.strip() for cell in row):
            filled = len(row) == width or (len(row) > width and not any(row[width:]))
            yield first + 1, row, "" if filled else f"{len(row)} cells, wanted {width}"
        elif "," in lines[first]:
            yield first + 1, [], "not a row of cells"


def _cells(line: str) -> tuple[list[str], bool]:
    """The cells of a line, and whether the last is a quote that is not closed."""
    try:
        return next(csv.reader([line], strict=True), []), False
    except csv.Error as error:
        unclosed = "unexpected end" in str(error)
    try:
        return next(csv.reader([line]), []), unclosed
    except csv.Error:
        return [], unclosed
