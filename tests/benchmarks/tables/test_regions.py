from __future__ import annotations

import pytest

from benchmarks.report import markdown
from benchmarks.tables.regions import fill, names
from benchmarks.tables.registry import load, one, table

TABLES = {"few-words": lambda: "12 ms", "rows": lambda: markdown(("a", "b"), [("1", "2")])}


def test_words_are_written_inside_a_sentence() -> None:
    text = "took <!-- figures: few-words -->9 ms<!-- end --> here"
    assert fill(text, TABLES) == "took <!-- figures: few-words -->12 ms<!-- end --> here"


def test_a_table_is_written_on_lines_of_its_own() -> None:
    text = "before\n\n<!-- figures: rows -->\n| old |\n<!-- end -->\n\nafter\n"
    wanted = (
        "before\n\n<!-- figures: rows -->\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
        "<!-- end -->\n\nafter\n"
    )
    assert fill(text, TABLES) == wanted
    assert fill(wanted, TABLES) == wanted


def test_every_region_is_written_and_named() -> None:
    region = "<!-- figures: few-words --><!-- end -->"
    assert fill(f"{region} {region}", TABLES).count("12 ms") == 2
    assert names(f"{region} <!-- figures: rows -->") == ["few-words", "rows"]


def test_a_document_without_regions_stays() -> None:
    assert fill("nothing\n<!-- a note -->\n", TABLES) == "nothing\n<!-- a note -->\n"


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no table is named row; there are \['few-words', 'rows'"):
        fill("<!-- figures: row --><!-- end -->", TABLES)


@pytest.mark.parametrize("rest", ["", "<!-- figures: rows --><!-- end -->"])
def test_a_region_without_an_end_is_refused(rest: str) -> None:
    with pytest.raises(ValueError, match="the region few-words has no <!-- end -->"):
        fill(f"<!-- figures: few-words --> text {rest}", TABLES)


def test_few_words_do_not_begin_a_line() -> None:
    with pytest.raises(ValueError, match="few-words of a few words must not begin a line"):
        fill("a line\n<!-- figures: few-words --><!-- end --> and on\n", TABLES)


def test_two_tables_of_one_name_are_refused() -> None:
    load()
    registered = table("cpu-headline")
    with pytest.raises(ValueError, match="two tables named cpu-headline"):
        registered(lambda: "")


def test_a_row_must_be_the_only_one() -> None:
    rows = [{"p": 1, "ms": 2.0}, {"p": 1, "ms": 3.0}, {"p": 2, "ms": 4.0}]
    assert one(rows, p=2)["ms"] == 4.0
    with pytest.raises(LookupError, match=r"wanted one row with \{'p': 1\}, found 2"):
        one(rows, p=1)
    with pytest.raises(LookupError, match="found 0"):
        one(rows, p=3)


def test_rows_have_as_many_cells_as_the_head() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells under a head of 2"):
        markdown(("a", "b"), [("1",)])
