"""The table of the campaign's outcomes."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.tables import faults
from tests.faults.outcome import VERDICTS


def content() -> dict[str, Any]:
    none = dict.fromkeys(VERDICTS, 0)
    return {
        "inputs": {"held": none | {"right": 1200, "lost": 1}, "ops": none | {"refused": 7}},
        "seconds": 90,
        "environment": {"cpu": "a CPU", "cores": 2},
        "commits": ["0123456789"],
    }


def test_every_verdict_of_the_campaign_has_a_column() -> None:
    assert faults.VERDICTS == VERDICTS


def test_kinds_and_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "results", lambda _: content())
    rows = faults.faults().splitlines()
    assert [cell.strip() for cell in rows[-1].strip("|").split("|")] == [
        *("all", "1,208", "1,200", "7", "0", "0", "0", "0", "1")
    ]
    assert len(rows) == 2 + 3
    assert faults.machine() == "a CPU, 2 cores, 2 minutes, 0123456"
