"""The figures in the documents are those of their JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.environment import ROOT
from benchmarks.tables.regions import documents, fill, names
from benchmarks.tables.registry import load


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_region_is_out_of_date(path: Path) -> None:
    text = path.read_text()
    assert fill(text, load()) == text, f"{path.name}: run make tables"


def test_every_table_stands_in_a_document() -> None:
    shown = {name for path in documents() for name in names(path.read_text())}
    assert load().keys() == shown
