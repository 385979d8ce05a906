"""Errors that name no file get one; `test_no_files.py` tries the other functions."""

from __future__ import annotations

import errno
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest

from mesm.corpora.parts import write_part
from mesm.features.parquet import RowsWriter, write_table
from mesm.inputs.subwords import UnigramSubwords
from mesm.runs.folder import RunFolder
from mesm.runs.ordinary import naming, ordinary


def test_only_errors_without_a_file_are_given_one(tmp_path: Path) -> None:
    with pytest.raises(OSError) as told, naming(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.filename == str(tmp_path / "a")
    with pytest.raises(FileNotFoundError) as missing, naming(tmp_path / "a"):
        (tmp_path / "b").read_bytes()
    assert missing.value.filename == str(tmp_path / "b")
    with pytest.raises(OSError, match="No such file") as others, naming(tmp_path / "a"):
        raise av.FileNotFoundError(errno.ENOENT, "No such file or directory")  # of no own name
    assert others.value.filename == str(tmp_path / "a")


def test_a_link_to_nothing_is_told_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("gone")
    with pytest.raises(ValueError, match="a is a link to gone, which is not there; copy what"):
        ordinary(tmp_path / "a")


def test_writers_name_their_file_where_the_disk_is_full(tmp_path: Path) -> None:
    """Each writes through a link to /dev/full, which takes nothing."""
    table = pa.table({"a": np.arange(1000)})
    subwords = UnigramSubwords.train(["so happy", "so sad"], 20)

    def rows() -> None:
        (tmp_path / "rows").symlink_to("/dev/full")
        with RowsWriter(tmp_path / "rows") as writer:
            writer.add("a", np.ones((9000, 3), np.float32))

    writers = {
        "part.tmp": lambda: write_part(tmp_path / "part", table, []),
        ".table.partial": lambda: write_table(table, tmp_path / "table"),
        "tokenizer.json.tmp": lambda: subwords.save(tmp_path / "tokenizer.json"),
        "": rows,
    }
    for beside, write in writers.items():
        if beside:
            (tmp_path / beside).symlink_to("/dev/full")
        with pytest.raises(OSError) as told:
            write()
        assert told.value.errno == errno.ENOSPC
        name = beside.removeprefix(".").rpartition(".")[0] or "rows"
        assert told.value.filename == str(tmp_path / name)
    assert not (tmp_path / "tokenizer.json.tmp").is_symlink()
    with pytest.raises(OSError) as told:
        RunFolder(tmp_path / "none").replace_last({"state.json": b""})
    assert "none" in str(told.value.filename)
