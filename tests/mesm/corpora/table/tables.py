"""Tables written in every format, and the lines of a refusal."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mesm.corpora.table.problems import TableError
from mesm.corpora.utterances import RawCorpus

Rows = list[dict[str, Any]]


def write_rows(file: Path, rows: Rows, delimiter: str = ",") -> Path:
    """Rows of the same keys as a table of the file's format."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return file


def wrong(read: Callable[..., RawCorpus], rows: Rows | str, **options: Any) -> list[str]:
    """The lines of what is wrong."""
    with pytest.raises(TableError) as refused:
        read(rows, **options)
    assert str(refused.value).startswith(refused.value.head)
    return refused.value.lines


def told_of_a_cell(read: Callable[..., RawCorpus], cell: dict[str, str], told: str) -> None:
    """See that a clip with some other cell is refused by line and column, in one line."""
    row = {"video": "a.mp4", "audio": "", "start": "0", "end": "", "text": "", "id": "mine"}
    row |= {"speaker": "s", "group": "g", "emotion": "sad"}
    other = row | {"video": "b.mp4", "id": "other", "emotion": "glad"}
    (line,) = wrong(read, [other, row | cell])
    assert line.startswith("line 3, column ")
    assert told in line
