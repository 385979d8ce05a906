import json
import os

import pytest

from mesm.runs import hashes
from mesm.runs.hashes import MEMORY, check_files, check_seal, sealed, sha256

MEND = "run mesm make again"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "WORTH_REMEMBERING", 1)
    monkeypatch.setattr(hashes, "SETTLED", -1)
    (tmp_path / "data").mkdir()
    for name in "ab":
        (tmp_path / "data" / name).write_bytes(name.encode() * 1000)
    return tmp_path


def written(folder):
    return {f"data/{name}": sha256(folder / "data" / name) for name in "ab"}


def flip(file):
    """Change one bit, and keep the size and the time of change."""
    stat = file.stat()
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_damaged_or_missing_file_is_named_with_the_mend(folder):
    wanted = written(folder)
    check_files(folder, wanted, MEND)
    for damage in (
        flip,
        lambda file: os.truncate(file, 500),
        lambda file: file.write_bytes(b""),
    ):
        kept = (folder / "data" / "b").read_bytes()
        damage(folder / "data" / "b")
        with pytest.raises(ValueError, match=r"data/b is not as it was written.*; run mesm make"):
            check_files(folder, wanted, MEND)
        (folder / "data" / "b").write_bytes(kept)
        check_files(folder, wanted, MEND)
    (folder / "data" / "a").unlink()
    with pytest.raises(ValueError, match=r"is not whole: data/a is not there; run mesm make again"):
        check_files(folder, wanted, MEND)
    (folder / "data" / "a").mkdir()
    with pytest.raises(ValueError, match="data/a is a folder, wanted a file"):
        check_files(folder, wanted, MEND)


def test_paths_out_of_the_folder_are_refused(folder):
    for name in ("../x", "/etc/passwd", "data/../../x", "a\0b"):
        with pytest.raises(ValueError, match="outside of it"):
            check_files(folder, {name: "0"}, MEND)


def test_hashes_are_remembered_while_the_files_stay(folder, monkeypatch):
    wanted = written(folder)
    computed = []
    monkeypatch.setattr(hashes, "sha256", lambda file: computed.append(file.name) or sha256(file))
    check_files(folder, wanted, MEND)
    check_files(folder, wanted, MEND)
    assert computed == ["a", "b"]
    os.utime(folder / "data" / "a", ns=(1, 1))
    check_files(folder, wanted, MEND)
    assert computed == ["a", "b", "a"]
    check_files(folder, wanted, MEND, anew=True)
    assert computed == ["a", "b", "a", "a", "b"]
    # Other hashes of the same files are never taken from the memory.
    with pytest.raises(ValueError, match="not as it was written"):
        check_files(folder, {"data/a": wanted["data/b"]}, MEND)


@pytest.mark.parametrize("content", ["", "null", "[]", '{"data/a": 3}', "[" * 10000, "\udcff"])
def test_a_damaged_memory_remembers_nothing(folder, content):
    (folder / MEMORY).write_bytes(content.encode("utf-8", "surrogatepass"))
    check_files(folder, written(folder), MEND)
    (folder / "data" / "a").write_bytes(b"b")
    with pytest.raises(ValueError, match="not as it was written"):
        check_files(folder, {"data/a": "0"}, MEND)


def test_a_memory_without_end_is_not_read(folder, monkeypatch):
    wanted = written(folder)
    check_files(folder, wanted, MEND)
    size = (folder / MEMORY).stat().st_size
    parsed = []
    loads = hashes.json.loads
    monkeypatch.setattr(hashes.json, "loads", lambda data: parsed.append(len(data)) or loads(data))
    monkeypatch.setattr(hashes, "MOST_MEMORY", size)
    check_files(folder, wanted, MEND)
    assert parsed == [size]
    with (folder / MEMORY).open("r+b") as file:
        file.truncate(1 << 40)  # no block of the disk is taken
    check_files(folder, wanted, MEND)
    assert parsed == [size]
    assert (folder / MEMORY).stat().st_size == size  # written anew


def test_what_was_just_written_and_what_is_small_is_not_remembered(folder, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED", 1000)
    check_files(folder, written(folder), MEND)
    assert not (folder / MEMORY).exists()
    monkeypatch.setattr(hashes, "SETTLED", -1)
    monkeypatch.setattr(hashes, "WORTH_REMEMBERING", 1 << 20)
    check_files(folder, written(folder), MEND)
    assert not (folder / MEMORY).exists()


def test_a_folder_that_cannot_be_written_to(folder, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(hashes, "write_beside", refuse)
    check_files(folder, written(folder), MEND)
    assert not (folder / MEMORY).exists()


def test_a_json_file_that_carries_its_own_hash_tells_every_change():
    content = sealed({"a": [1, 2.5], "b": {"c": "x"}})
    check_seal(json.loads(json.dumps(content, indent=1)))
    check_seal({"a": 1})  # from before there was a digest
    for change in ({"a": [2.5, 1]}, {"b": {"c": ""}}, {"digest": "0"}, {"d": None}):
        with pytest.raises(ValueError, match="is not as it was written: its digest differs"):
            check_seal(content | change)
