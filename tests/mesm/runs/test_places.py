"""Ways between two folders, which may be moved together or apart, and links on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesm.runs.places import describe_place, places_of


def described(corpus: Path, run: Path) -> dict[str, object]:
    return describe_place(corpus, corpus, run, "hash")


def test_names_from_the_run_and_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = described(Path("prepared/one"), Path("runs/a"))
    assert kept == {
        "named": "prepared/one",
        "relative": ["../../prepared/one"],
        "absolute": str(tmp_path / "prepared/one"),
        "identity": "hash",
    }
    whole = described(tmp_path / "prepared/one", tmp_path / "runs/a")
    assert whole == kept | {"named": str(tmp_path / "prepared/one")}


def test_the_runs_neighbour_comes_first_and_each_place_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = described(Path("prepared/one"), Path("runs/a"))
    # The name in config.yaml leads there as well, and is how the user calls it.
    assert places_of(kept, Path("runs/a")) == [Path("prepared/one")]
    assert places_of(kept, tmp_path / "other/runs/a") == [
        tmp_path / "other/prepared/one",
        Path("prepared/one"),
    ]
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert places_of(kept, Path("../runs/a")) == [
        tmp_path / "prepared/one",
        Path("prepared/one"),
    ]


def test_links_are_followed_as_named_and_as_they_lie(tmp_path: Path) -> None:
    disk, project = tmp_path / "disk", tmp_path / "project"
    for folder in (disk / "runs/a", disk / "prepared", project):
        folder.mkdir(parents=True)
    (project / "runs").symlink_to(disk / "runs")
    (project / "prepared").symlink_to(disk / "prepared")
    kept = described(project / "prepared", project / "runs/a")
    assert kept["relative"] == ["../../prepared"]
    mixed = described(disk / "prepared", project / "runs/a")
    assert mixed["relative"] == ["../../../disk/prepared", "../../prepared"]
    # The disk moves, and its links with it: the way on the disk still leads there.
    disk.rename(tmp_path / "moved")
    (project / "runs").unlink()
    (project / "runs").symlink_to(tmp_path / "moved/runs")
    assert tmp_path / "moved/prepared" in places_of(mixed, project / "runs/a")
    # Links that were copied as folders: the way as named still leads there.
    copy = tmp_path / "copy"
    (copy / "runs/a").mkdir(parents=True)
    assert places_of(kept, copy / "runs/a")[0] == copy / "prepared"


def test_a_link_to_itself_is_a_place_like_another(tmp_path: Path) -> None:
    (tmp_path / "prepared").symlink_to(tmp_path / "prepared")
    kept = described(tmp_path / "prepared", tmp_path / "runs/a")
    assert places_of(kept, tmp_path / "runs/a") == [tmp_path / "prepared"]
