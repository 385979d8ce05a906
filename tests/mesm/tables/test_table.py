"""Means and deviations against figures worked out by hand."""

import pytest

from mesm.tables.table import Cell, Table, percent, printed, row, spread, summarise


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.5, 1, "50.0"),
        (0.12345, 1, "12.3"),
        (0.12345, 3, "12.345"),
        (0.333, 0, "33"),
        (1.0, 1, "100.0"),
        (0.0, 1, "0.0"),
        (None, 1, "–"),
    ],
)
def test_percent(share: float | None, digits: int, text: str) -> None:
    assert percent(share, digits) == text


def test_sample_deviation_divides_by_one_less() -> None:
    # Mean 4; squares of the differences 4 + 0 + 4 = 8; 8 / (3 - 1) = 4; root 2.
    assert summarise([2, 4, 6]) == {"mean": 4, "deviation": 2, "values": [2, 4, 6]}
    # Mean 0.5; 0.01 + 0.01 = 0.02; 0.02 / 1; root 0.1414...
    found = spread([0.4, 0.6], scale=100)
    assert found.text == "50.0 ± 14.1"
    assert found.value["mean"] == pytest.approx(0.5)
    assert found.value["deviation"] == pytest.approx(0.02**0.5)
    assert found.value["values"] == [0.4, 0.6]


def test_one_seed_has_no_deviation() -> None:
    found = spread([0.25], scale=100)
    assert found.text == "25.0"
    assert found.value == {"mean": 0.25, "deviation": None, "values": [0.25]}


def test_unknown_values_are_left_out_and_none_is_a_dash() -> None:
    assert spread([2e9, None, 4e9], 2, 1e-9).text == "3.00 ± 1.41"
    assert spread([None, None]) == Cell("–")
    assert spread([]) == Cell("–")


def test_printed_figures_keep_their_digits_and_may_be_doubled() -> None:
    assert printed(8.65, 2, 2) == Cell("17.30", 17.3)
    assert printed(None) == Cell("–")


def test_rows_groups_and_head_must_fit() -> None:
    Table("t", "T", (("", 1), ("g", 2)), ("a", "b", "c"), (row("", 1, 2, 3),))
    with pytest.raises(ValueError, match="3 columns"):
        Table("t", "T", (("", 1),), ("a", "b", "c"), (row("", 1, 2, 3),))
    with pytest.raises(ValueError, match="3 columns"):
        Table("t", "T", (("", 3),), ("a", "b", "c"), (row("", 1, 2),))


def test_plain_cells_are_their_own_value() -> None:
    assert row("fe2e", "name", 3, Cell("x", 0.5)).cells == (
        Cell("name", "name"),
        Cell("3", 3),
        Cell("x", 0.5),
    )
