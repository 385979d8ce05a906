"""Amounts in words."""

from __future__ import annotations

from benchmarks.tables.amounts import in_bytes, in_minutes


def test_amounts_stand_in_the_largest_unit_that_they_fill() -> None:
    assert in_bytes(2.5e12) == "2.5 TB"
    assert in_bytes(1e9) == "1 GB"
    assert in_bytes(999e6) == "999 MB"
    assert in_bytes(1500) == "1.5 kB"
    assert in_minutes(90) == "1.5"
