"""Rows of CSV files, some of them broken."""

from __future__ import annotations

import pytest

from mesm.corpora.csv_rows import LONGEST_CELL, read_rows, unfit


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("1,2\n3,4\n", [(2, ["1", "2"], ""), (3, ["3", "4"], "")]),
        ("1,2\r\n\r\n3,4", [(2, ["1", "2"], ""), (4, ["3", "4"], "")]),
        ('"a, ""b""",2\n', [(2, ['a, "b"', "2"], "")]),
        ('2,"a\nb"\n3,4\n', [(2, ["2", "a\nb"], ""), (4, ["3", "4"], "")]),
        ("1,2,,\n", [(2, ["1", "2", "", ""], "")]),
        (
            "1\n2,3,4\n",
            [(2, ["1"], "1 cells, wanted 2"), (3, ["2", "3", "4"], "3 cells, wanted 2")],
        ),
        (
            '"a,2\n3,4\n',
            [(2, ["a,2\n"], "a quote is not closed"), (3, ["3", "4"], "")],
        ),
        (",\n5,6\n", [(2, [], "not a row of cells"), (3, ["5", "6"], "")]),
    ],
)
def test_a_broken_row_costs_no_other(body: str, rows: list[tuple[int, list[str], str]]) -> None:
    header, found = read_rows("x,y\n" + body)
    assert header == ["x", "y"]
    assert list(found) == rows


def test_a_quote_that_is_not_closed_takes_few_lines() -> None:
    _, found = read_rows('x,y\n"a\n' + "b\n" * (2 * LONGEST_CELL) + "1,2\n")
    rows = list(found)
    assert rows[0][2] == "a quote is not closed"
    assert rows[-1] == (2 * LONGEST_CELL + 3, ["1", "2"], "")


def test_a_header_that_does_not_fit() -> None:
    assert unfit(["a", "b"], ["b"]) == ""
    assert unfit(["a", "b"], ["c"]) == "no column c"
    assert unfit(["a", "a"], ["a"]) == "column a twice"
    assert read_rows("")[0] == []
