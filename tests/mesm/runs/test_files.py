"""A file is the old one or the new one; a folder is one process's at a time."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesm.runs.files import (
    check_folder,
    file_name,
    locked,
    one_at_a_time,
    owned,
    owned_file,
    read_json,
    write_beside,
)
from mesm.runs.scores import Figure

HOLDER = """
import sys, time
from pathlib import Path
from mesm.runs.files import locked
with locked(Path(sys.argv[1]), "busy in"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_is_refused_until_the_first_is_done(tmp_path):
    refused = pytest.raises(ValueError, match=r"another process is sweeping .*: wait for it")
    with locked(tmp_path, "training in"), refused, locked(tmp_path, "sweeping"):
        pass
    with locked(tmp_path, "sweeping"):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = pytest.raises(ValueError, match=rf"another process .*process {holder.pid}: ")
        with told, locked(tmp_path, "sweeping"):
            pass
        holder.kill()
        holder.wait()
    with locked(tmp_path, "sweeping"):
        pass


def test_a_folder_that_stays_empty_goes_with_its_owner(tmp_path):
    with owned(tmp_path / "a" / "b", "training in"):
        refused = pytest.raises(ValueError, match="another process")
        with refused, owned(tmp_path / "a" / "b", "training in"):
            pass
    assert not (tmp_path / "a" / "b").exists()
    with owned(tmp_path / "a" / "b", "training in"):
        (tmp_path / "a" / "b" / "file").touch()
    assert (tmp_path / "a" / "b" / "file").exists()


@pytest.mark.parametrize("name", ["Ses01F_impro01_F000", "-aB3_x", "..a", "x___y", "ü 1", "你好"])
def test_a_plain_name_may_name_a_file(name):
    assert file_name(name, "clip id") == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/../b", "a\\b", "a\0", "a\nb", "a" * 201])
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(ValueError, match=r"clip id .* cannot name a file: rename it"):
        file_name(name, "clip id")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_beside(file, "old")

    def fail(self, target):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_beside(file, "new")
    assert file.read_text() == "old"


def test_json_that_is_not_there_is_none_and_damaged_json_is_named(tmp_path):
    assert read_json(tmp_path / "none.json") is None
    (tmp_path / "one.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "one.json") == {"a": 1}
    (tmp_path / "one.json").write_text("{")
    with pytest.raises(ValueError, match=r"one\.json: not JSON .*; delete it and make it again"):
        read_json(tmp_path / "one.json")


@pytest.mark.parametrize(
    "content",
    ['{"a": NaN}', '{"a": 1e999}', '{"a": {"b": 1, "b": 1}}', "[" * 100_000, "\xff", ""],
)
def test_json_with_what_is_no_number_or_cut_is_damaged(content, tmp_path):
    (tmp_path / "one.json").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"one\.json: (not JSON|damaged).*; delete it and make it"):
        read_json(tmp_path / "one.json", dict[str, Figure])


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(handle, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*file") as told:
        write_beside(tmp_path / "file", "new")
    assert told.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from mesm.runs.files import write_beside
for _ in range(150):
    write_beside(Path(sys.argv[1]), sys.argv[2] * 300_000)
"""


def test_writers_at_once_leave_the_whole_file_of_one(tmp_path):
    file = tmp_path / "file"
    command = [sys.executable, "-c", WRITER, str(file)]
    writers = [subprocess.Popen([*command, letter], stderr=subprocess.PIPE) for letter in "ab"]
    for writer in writers:
        assert writer.communicate(timeout=60)[1] == b""
        assert writer.returncode == 0
    assert file.read_text() in ("a" * 300_000, "b" * 300_000)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_is_made_by_one_process_at_a_time(tmp_path):
    file = tmp_path / "a" / "b" / "page.html"
    second = pytest.raises(ValueError, match=r"another process is writing .*page\.html \(process ")
    with owned_file(file, "writing"), second, owned_file(file, "writing"):
        pass
    assert list(tmp_path.iterdir()) == []
    with owned_file(file, "writing"):
        write_beside(file, "x")
    assert list(file.parent.iterdir()) == [file]
    with (
        pytest.raises(ValueError, match=r"b is a folder; name a file"),
        owned_file(file.parent, ""),
    ):
        pass


@pytest.mark.parametrize("below", [".", "a", "a/b"])
def test_a_file_is_no_folder(below, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match=r"file is a file, so .* cannot be a folder; name another"):
        check_folder(file / below)
    with pytest.raises(ValueError, match="is a file"), owned(file / below, "training in"):
        pass
    check_folder(tmp_path / below)


def test_a_function_of_a_run_is_called_by_one_process_at_a_time(tmp_path):
    @one_at_a_time("x.json", "sweeping into")
    def work(run, again):
        assert run.is_dir() == again
        return again and work(run, again)

    with pytest.raises(ValueError, match=r"another process is sweeping into .*x\.json"):
        work(tmp_path, True)
    assert work(tmp_path / "none", False) is False
    assert list(tmp_path.iterdir()) == []
