"""Uploads and results of visitors: apart, and gone with them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from mesm.web import desk as module
from mesm.web.desk import Desk, Looked
from tests.mesm.web.conftest import wait_for


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "uploads").mkdir()
    return Desk(tmp_path / "uploads")


def file_of(desk: Desk, name: str) -> Path:
    file = desk.uploads / name[:1] / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"12345")
    return file


def test_a_file_goes_with_its_last_owner(desk: Desk) -> None:
    file, other = file_of(desk, "a.mp4"), file_of(desk, "b.mp4")
    desk.take("one", file, other)
    desk.take("two", file)
    assert desk.size() == 10
    desk.leave("one")
    assert file.is_file()
    assert not other.parent.exists()
    desk.leave("two")
    assert not file.parent.exists()
    desk.leave("nobody")
    assert len(desk) == 0


def test_results_are_apart_and_go_too(desk: Desk) -> None:
    one, two = (Looked(name, (), [], []) for name in "ab")
    for visitor, looked in (("one", one), ("two", two)):
        desk.take(visitor)
        desk.keep(visitor, looked)
    assert desk.looked("one") is one
    assert desk.looked("two") is two
    desk.leave("one")
    desk.keep("one", one)  # a model that ran until after they left
    assert desk.looked("one") is None
    assert desk.looked("two") is two


def test_what_nobody_wants_is_swept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    own, unused = file_of(desk, "own.mp4"), file_of(desk, "unused.mp4")
    desk.take("one", own)
    desk.sweep()
    assert unused.is_file()
    monkeypatch.setattr(module, "UNUSED", -1.0)
    desk.sweep()
    assert own.is_file()
    assert not unused.exists()
    monkeypatch.setattr(module, "IDLE", -1.0)
    desk.sweep()
    assert not own.exists()
    assert len(desk) == 0


def test_who_is_silent_is_forgotten_though_nobody_comes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = file_of(desk, "own.mp4")
    desk.take("one", own)
    monkeypatch.setattr(module, "IDLE", -1.0)
    monkeypatch.setattr(module, "EVERY", 0.01)
    with desk.swept():
        wait_for(lambda: not own.exists())
    assert len(desk) == 0
    assert not [one for one in threading.enumerate() if one.name == "sweep"]


def test_replaced_clips_are_swept_unless_asked_for_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (file_of(desk, name) for name in ("a.mp4", "b.mp4", "c.mp4"))
    for file in (first, second, third):
        desk.take("one", file)
    desk.take("one")  # who turns the slider keeps the clip
    desk.sweep()
    assert first.is_file()
    before = first.stat()
    time.sleep(0.05)
    assert desk.touch(first)
    assert first.stat().st_mtime_ns == before.st_mtime_ns
    assert not desk.touch("/etc/passwd")
    # When the one was asked for within ten minutes, and the other was not.
    now = (first.stat().st_ctime + second.stat().st_ctime) / 2 + module.UNUSED
    monkeypatch.setattr(time, "time", lambda: now)
    desk.sweep()
    assert first.is_file()
    assert not second.exists()
    assert third.is_file()


def test_who_was_still_longest_makes_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VISITORS", 2)
    first = file_of(desk, "first.mp4")
    desk.take("one", first)
    desk.take("two")
    desk.take("three")
    assert len(desk) == 2
    assert not first.exists()


def test_files_elsewhere_are_neither_owned_nor_deleted(desk: Desk, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("x")
    link = desk.uploads / "link"
    link.symlink_to(outside)
    for place in (outside, link, desk.uploads, desk.uploads / ".." / "outside.txt", "\0", ""):
        assert not desk.owns(place)
    assert not desk.owns(desk.uploads / ("a" * 300))  # which no file system takes for a name
    assert desk.owns(file_of(desk, "a.mp4"))
    desk.take("one", outside, link)
    desk.leave("one")
    assert outside.is_file()
    desk.close()
    assert not desk.uploads.exists()
    assert outside.is_file()
