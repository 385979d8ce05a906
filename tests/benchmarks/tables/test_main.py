"""`python -m benchmarks.tables` on documents of a test's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.tables import __main__ as command

REGION = "it took <!-- figures: words -->{}<!-- end -->\n"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "page.md"
    page.write_text(REGION.format("9 ms"))
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "documents", lambda: [page])
    monkeypatch.setattr(command, "load", lambda: {"words": lambda: "12 ms"})
    return page


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["tables", *arguments])
    command.main()


def test_a_page_out_of_date_is_written_anew_and_named(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch)
    assert page.read_text() == REGION.format("12 ms")
    assert capsys.readouterr().out == "page.md\n"
    run(monkeypatch, "--check")
    assert capsys.readouterr().out == "every figure is that of its JSON\n"


def test_a_check_changes_nothing_and_fails(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="error: out of date; run make tables"):
        run(monkeypatch, "--check")
    assert page.read_text() == REGION.format("9 ms")


def test_an_unknown_table_is_refused_with_its_page(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.write_text(REGION.replace("words", "word").format(""))
    with pytest.raises(SystemExit, match=r"error: page\.md: no table is named word"):
        run(monkeypatch)
