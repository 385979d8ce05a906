"""Files anywhere below a folder."""

from __future__ import annotations

from pathlib import Path

from mesm.corpora.trees import below, is_pointer, some
from tests.mesm.corpora.damages import POINTER


def test_nearer_folders_come_first_and_hidden_names_not_at_all(tmp_path: Path) -> None:
    for name in ("b/deep/x.txt", "a/y.txt", "z.txt", ".hidden/x.txt", "__MACOSX/x.txt", "a/._y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = [(folder.relative_to(tmp_path).as_posix(), names) for folder, names in below(tmp_path)]
    assert found == [(".", ["z.txt"]), ("a", ["y.txt"]), ("b", []), ("b/deep", ["x.txt"])]


def test_links_are_followed_and_no_folder_is_given_twice(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "x.txt").write_text("")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a").symlink_to(tmp_path / "disk")
    (raw / "b").symlink_to(tmp_path / "disk")
    (raw / "loop").symlink_to(raw)
    (raw / "nowhere").symlink_to(tmp_path / "nowhere")
    (raw / "itself").symlink_to(raw / "itself")
    assert list(below(raw)) == [(raw, ["itself", "nowhere"]), (raw / "a", ["x.txt"])]
    assert list(below(tmp_path / "nowhere")) == [(tmp_path / "nowhere", [])]


def test_pointers_of_git_lfs(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(POINTER)
    (tmp_path / "b").write_text("version 1")
    (tmp_path / "c").write_text(POINTER + "x" * 2000)
    assert [is_pointer(tmp_path / name) for name in "abcd"] == [True, False, False, False]


def test_a_note_lists_the_first_names() -> None:
    assert some(list("abc")) == "a, b, c"
    assert some(list("abcdefg")) == "a, b, c, d, e, ..."
