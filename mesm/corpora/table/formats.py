"""Lines and cells of a table: CSV, JSON Lines or Parquet, read strictly."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mesm.corpora.table.problems import Problems
from mesm.runs.ordinary import not_a_file, ordinary

COLUMNS = (
    *("video", "audio", "start", "end", "text"),
    *("id", "speaker", "group", "split", "emotion"),
)
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
DELIMITERS = (",", ";", "\t")
# Marks at the beginning of texts in other encodings than UTF-8.
OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
# Decoders put it where bytes are no text.
NO_TEXT = "\ufffd"

# Cells that name files.
PATHS = ("video", "audio")
# Letters of a cell of CSV; a whole file is no cell.
LONGEST_CELL = 1 << 24

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Row:
    """One clip's line: its number in the file, from 1, and its cells; None: empty."""

    line: int
    cells: dict[str, Cell]


@dataclass
class Table:
    """The columns of a table, in their order, and its rows that could be read."""

    columns: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


def unit_of(file: Path) -> str:
    """The word for the lines of a table: those of Parquet are rows."""
    return "row" if file.suffix.lower() == ".parquet" else "line"


def read_rows(file: Path, problems: Problems) -> Table:
    """Read a table; what is wrong with it goes to `problems`, and its line is left out.

    Args:
        file: its ending tells the format.
        problems: of this file.

    Returns:
        Texts without spaces around them; empty ones are None, as are NaNs.

    Raises:
        ValueError: another ending, or no file.
    """
    kind = file.suffix.lower()
    if kind not in FORMATS:
        raise ValueError(f"{file}: wanted a table that ends with {', '.join(FORMATS)}")
    if not file.is_file():
        raise ValueError(f"{file} {not_a_file(file)}")
    if kind == ".parquet":
        table = _read_parquet(file, problems)
    else:
        text = _decode(ordinary(file).read_bytes(), problems)
        if text is None:
            return Table()
        table = _read_json(text, problems) if kind == ".jsonl" else _read_csv(text, kind, problems)
    table.rows = list(_checked(table.rows, problems))
    if not table.rows and not len(problems):
        problems.add(None, None, "it has no clip; write one a line")
    return table


def peek_columns(file: Path) -> list[str]:
    """The columns of a table as far as they can be read; problems are another reading's."""
    try:
        return read_rows(file, Problems(file)).columns
    except ValueError:
        return []


def _decode(data: bytes, problems: Problems) -> str | None:
    if data.startswith(OTHER_MARKS):
        problems.add(1, None, "it is UTF-16 or UTF-32; save it as UTF-8")
        return None
    # Cells with the sign of what is no text are refused one by one.
    return data.decode("utf-8-sig", errors="replace")


def _read_csv(text: str, kind: str, problems: Problems) -> Table:
    delimiter = "\t" if kind == ".tsv" else _delimiter(text, problems)
    if delimiter is None:
        return Table()
    limit = csv.field_size_limit(LONGEST_CELL)  # of the whole process
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    table = Table()
    line = 1
    try:
        for values in reader:
            number, line = line, reader.line_num + 1
            if not values:
                continue
            if not table.columns:
                table.columns = _header([value.strip() for value in values], number, problems)
                if not table.columns:
                    return Table()
                continue
            if len(values) != len(table.columns):
                wanted = f"it has {len(values)} cells, the first line {len(table.columns)}"
                mend = "put a text that holds the delimiter into quotes"
                problems.add(number, None, f"{wanted}; {mend}")
                continue
            table.rows.append(Row(number, dict(zip(table.columns, values, strict=True))))
    except csv.Error as error:
        mend = 'write " inside a quoted text as ""'
        problems.add(line, None, f"it cannot be read as CSV ({error}); {mend}")
    finally:
        csv.field_size_limit(limit)
    return table


def _delimiter(text: str, problems: Problems) -> str | None:
    """The one of `DELIMITERS` by which the first line names columns."""
    known, meant = {}, set()
    for delimiter in DELIMITERS:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            header = [name.strip() for name in next((row for row in rows if row), [])]
        except csv.Error:
            continue
        known[delimiter] = sum(name in COLUMNS for name in header)
        meant |= {name.lower() for name in header if name.lower() in COLUMNS}
    most = max(known.values(), default=0)
    best = [delimiter for delimiter, count in known.items() if count == most]
    if most and len(best) == 1:
        return best[0]
    first = text.lstrip().partition("\n")[0].strip()[:80]
    wanted = f"wanted columns among {', '.join(COLUMNS)}, and , or ; or tabs between them"
    hint = f"; did you mean {', '.join(sorted(meant))}, in small letters?" if meant else ""
    problems.add(1, None, f"{wanted}; got {first!r}{hint}")
    return None


def _header(names: Sequence[str], line: int | None, problems: Problems) -> list[str]:
    """The columns' names; none where they are wrong."""
    before = len(problems)
    for place, name in enumerate(names, 1):
        if not name:
            problems.add(line, str(place), "it has no name; write one, or leave it out")
        elif name in names[: place - 1]:
            problems.add(line, name, "there are two of this name")
        elif (wrong := _no_text(name)) is not None:
            problems.add(line, ascii(name), wrong)
    return list(names) if len(problems) == before else []


def _read_json(text: str, problems: Problems) -> Table:
    table = Table()
    # Only line feeds end a line: texts may hold other separators.
    for number, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            found = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            problems.add(number, None, f"it is not JSON ({error})")
            continue
        if not isinstance(found, dict):
            wanted = 'wanted an object such as {"video": "a.mp4", "emotion": "happy"}'
            problems.add(number, None, f"{wanted}, got {content.strip()[:40]}")
            continue
        new = [name.strip() for name in found if name.strip() not in table.columns]
        if new and len(_header(new, number, problems)) != len(new):
            continue
        table.columns += new
        table.rows.append(Row(number, {name.strip(): value for name, value in found.items()}))
    return table


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key.strip() in found:
            raise ValueError(f"it has {key!r} twice")
        found[key.strip()] = value
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _read_parquet(file: Path, problems: Problems) -> Table:
    try:
        content = pq.read_table(file, partitioning=None)
        names = [name.strip() for name in content.column_names]
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).partition("\n")[0]
        problems.add(None, None, f"it cannot be read as Parquet ({first})")
        return Table()
    table = Table(_header(names, None, problems))
    if not table.columns:
        return Table()
    columns: list[list[Any]] = []
    for name, column in zip(names, content.columns, strict=True):
        try:
            columns.append(column.to_pylist())
        except (pa.ArrowException, ValueError, OverflowError) as error:
            problems.add(None, name, f"it cannot be read ({error})")
            return Table()
    for number, values in enumerate(zip(*columns, strict=True), 1):
        table.rows.append(Row(number, dict(zip(names, values, strict=True))))
    return table


def _checked(rows: Sequence[Row], problems: Problems) -> Iterator[Row]:
    """Rows of cells of the five kinds; empty texts are None."""
    told: set[tuple[str, str]] = set()  # a column of another type is told once
    for row in rows:
        cells: dict[str, Cell] = {}
        before, usable = len(problems), True
        for name, value in row.cells.items():
            if isinstance(value, str):
                wrong = _no_text(value)
                # One name is one name, however its accents were typed; file names are as they are.
                text = value if name in PATHS else unicodedata.normalize("NFC", value)
                cells[name] = text.strip() or None
            elif isinstance(value, Decimal):
                wrong, cells[name] = None, float(value)
            elif isinstance(value, float) and math.isnan(value):
                wrong, cells[name] = None, None
            else:
                kinds = (bool, int, float, type(None))
                kind = type(value).__name__
                wrong = None
                if not isinstance(value, kinds):
                    wrong = f"wanted a text, a number or true or false, got a {kind}"
                    usable = False
                    if (name, kind) in told:
                        continue
                    told.add((name, kind))
                cells[name] = value
            if wrong is not None:
                problems.add(row.line, name, wrong)
        # Spreadsheets leave empty lines behind.
        if (
            usable
            and len(problems) == before
            and any(value is not None for value in cells.values())
        ):
            yield Row(row.line, cells)


def _no_text(value: str) -> str | None:
    """Why characters are no text; None: they are."""
    if NO_TEXT in value:
        return f"it is not UTF-8: {value[:40]!a}; save the table as UTF-8"
    if "\0" in value:
        return "it holds a zero byte"
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        return f"it holds half a character: {value[:40]!a}"
    return None
