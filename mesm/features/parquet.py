"""The Parquet files of the features: their schemas and how rows are written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mesm.runs.ordinary import naming

# Small groups, so that one clip can be read without its whole file.
CLIPS_PER_GROUP = 32
WORD_DIM = 300
# The id of a word without a vector.
UNKNOWN = -1

# A clip's rows one after the other: rows x columns values; NaN where nothing could be measured.
ROWS_SCHEMA = pa.schema(
    [("clip_id", pa.string()), ("rows", pa.int32()), ("values", pa.list_(pa.float32()))]
)
# Ids are lines of the table of words.
TEXT_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("words", pa.list_(pa.string())),
        ("ids", pa.list_(pa.int32())),
    ]
)
WORDS_SCHEMA = pa.schema([("word", pa.string()), ("vector", pa.list_(pa.float32(), WORD_DIM))])


def rows_table(clips: Iterable[tuple[str, npt.NDArray[np.float32]]]) -> pa.Table:
    """Lay out clips' matrices (rows, columns) float32 as a table with `ROWS_SCHEMA`."""
    rows = [
        {"clip_id": clip_id, "rows": len(values), "values": values.ravel()}
        for clip_id, values in clips
    ]
    return pa.Table.from_pylist(rows, schema=ROWS_SCHEMA)


def text_table(clips: Iterable[tuple[str, list[str]]], ids: dict[str, int]) -> pa.Table:
    """Lay out clips' words as a table with `TEXT_SCHEMA`; `ids` leads from word to vector."""
    rows = [
        {"clip_id": clip_id, "words": words, "ids": [ids.get(word, UNKNOWN) for word in words]}
        for clip_id, words in clips
    ]
    return pa.Table.from_pylist(rows, schema=TEXT_SCHEMA)


def words_table(vectors: dict[str, npt.NDArray[np.float32]]) -> pa.Table:
    """Lay out word vectors, in the dictionary's order, as a table with `WORDS_SCHEMA`."""
    flat = np.stack(list(vectors.values())).astype(np.float32).ravel()
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat), WORD_DIM)
    return pa.Table.from_arrays([pa.array(list(vectors), pa.string()), column], schema=WORDS_SCHEMA)


_WRITING = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}


def write_table(table: pa.Table, file: Path) -> None:
    """Write a table such that the file appears whole or not at all."""
    beside = file.with_name(f".{file.name}.partial")
    with naming(file):
        pq.write_table(table, beside, row_group_size=CLIPS_PER_GROUP, **_WRITING)
        beside.replace(file)


class RowsWriter:
    """Writes clips' matrices one after the other; the file is whole when it is closed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with naming(file):
            self._writer = pq.ParquetWriter(file, ROWS_SCHEMA, **_WRITING)
        self._waiting: list[tuple[str, npt.NDArray[np.float32]]] = []

    def add(self, clip_id: str, values: npt.NDArray[np.float32]) -> None:
        """Write one clip's matrix (rows, columns) float32."""
        self._waiting.append((clip_id, values))
        if len(self._waiting) == CLIPS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            with naming(self._file):
                self._writer.write_table(rows_table(self._waiting))
            self._waiting = []

    def __enter__(self) -> RowsWriter:
        return self

    def __exit__(self, *_error: object) -> None:
        self._flush()
        with naming(self._file):
            self._writer.close()


def read_words(file: Path) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Read the table of words: names, and vectors (words, 300) float32."""
    table = pq.read_table(file, use_threads=False)
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, WORD_DIM)
    return table["word"].to_pylist(), np.ascontiguousarray(vectors, np.float32)
