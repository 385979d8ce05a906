"""A campaign that was stopped goes on where it was."""

from __future__ import annotations

from pathlib import Path

from tests.faults.journal import Journal
from tests.faults.outcome import Outcome


def test_a_journal_goes_on_and_findings_are_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "new/journal.jsonl"
    first = Journal(file, "one")
    first.add("held", 1, Outcome("right", "x"))
    first.add("held", 2, Outcome("lost", "x"))
    second = Journal(file, "two")
    assert second.done() == {("held", 1)}
    assert second.figures(["held"])["inputs"]["held"]["lost"] == 1
    second.add("held", 2, Outcome("refused", "x"))
    second.add("ops", 1, Outcome("right", "x"))
    found = Journal(file, "three").figures(["held", "read"])
    assert found["commits"] == ["one", "two"]
    counts = {(kind, v): n for kind, all_ in found["inputs"].items() for v, n in all_.items() if n}
    assert counts == {("held", "right"): 1, ("held", "refused"): 1}


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    journal = Journal(None, None)
    journal.add("held", 1, Outcome("right", "x"))
    assert journal.done() == {("held", 1)}
    assert list(tmp_path.iterdir()) == []
