import numpy as np
import pyarrow.parquet as pq
import pytest

from mesm.features.parquet import (
    CLIPS_PER_GROUP,
    ROWS_SCHEMA,
    RowsWriter,
    read_words,
    rows_table,
    text_table,
    words_table,
    write_table,
)


def test_words_come_back_bit_by_bit(tmp_path):
    generator = np.random.default_rng(0)
    vectors = {word: generator.normal(size=300).astype(np.float32) for word in ("a", "é", "n't")}
    write_table(words_table(vectors), tmp_path / "words.parquet")
    names, table = read_words(tmp_path / "words.parquet")
    assert names == ["a", "é", "n't"]
    assert table.dtype == np.float32
    assert np.array_equal(table, np.stack(list(vectors.values())))


def test_ids_lead_to_words():
    table = text_table([("x", ["b", "zzz", "a"]), ("y", [])], {"a": 0, "b": 1})
    assert table["ids"].to_pylist() == [[1, -1, 0], []]
    assert table["words"].to_pylist() == [["b", "zzz", "a"], []]


def test_rows_are_written_in_groups(tmp_path):
    matrices = [(f"c{i}", np.full((i % 3, 2), i, np.float32)) for i in range(CLIPS_PER_GROUP + 5)]
    with RowsWriter(tmp_path / "a.parquet") as writer:
        for clip_id, values in matrices:
            writer.add(clip_id, values)
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert file.num_row_groups == 2
    assert file.schema_arrow == ROWS_SCHEMA
    assert file.read().equals(rows_table(matrices))
    row = file.read().slice(5, 1).to_pylist()[0]
    assert row == {"clip_id": "c5", "rows": 2, "values": [5.0] * 4}


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(table, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("mesm.features.parquet.pq.write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_table(text_table([], {}), tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()
