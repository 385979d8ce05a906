"""Single cells: times, truths and names of emotions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mesm.corpora.table.cells import read_emotions, read_truth
from mesm.corpora.table.formats import Cell
from mesm.corpora.utterances import RawCorpus
from tests.mesm.corpora.table.tables import told_of_a_cell


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ({"start": "abc"}, "column start: wanted seconds such as 75.5, or h:m:s"),
        ({"start": "-1"}, "got '-1'"),
        ({"start": "1,5"}, "got '1,5'"),
        ({"start": "0:75"}, "got '0:75'"),
        ({"start": "nan"}, "got 'nan'"),
        ({"start": "1e0"}, "got '1e0'"),
        ({"start": "\u0661"}, "column start: wanted seconds"),
        ({"emotion": "sad;;glad"}, "column emotion: 'sad;;glad' has no name before a ;, which"),
        ({"emotion": ";sad"}, "column emotion: ';sad' has no name before a ;, which stands"),
        ({"emotion": "sad;"}, "'sad;' ends with ;, which stands between names; leave it out"),
        ({"emotion": "happy, sad"}, "'happy, sad' is no emotion's name; if it is several, write "),
        ({"emotion": "happy/sad"}, "if it is several, write happy;sad"),
        ({"emotion": "sad;sad"}, "column emotion: it names 'sad' twice"),
        ({"emotion": "all"}, "the emotion's name 'all' has a meaning of its own in tables"),
        ({"emotion": "a*b"}, "the emotion's name 'a*b' has one of"),
        ({"emotion": "a,"}, "the emotion's name 'a,' has one of"),
        ({"emotion": "x" * 41}, "is longer than 40 letters"),
        ({"text": "a\0b"}, "column text: it holds a zero byte"),
        ({"text": "a\ufffdb"}, "column text: it is not UTF-8"),
    ],
)
def test_a_cell_that_is_wrong_is_told_with_line_and_column(
    read: Callable[..., RawCorpus], cell: dict[str, str], told: str
):
    told_of_a_cell(read, cell, told)


@pytest.mark.parametrize(
    ("value", "above", "told"),
    [
        (None, None, "it is empty; write 0 or 1, leave the clip out, or name the"),
        (None, 1.5, "it is empty; write a rating, a number, leave the clip out, or name the"),
        ("high", 1.5, "wanted a rating, a number, got 'high'"),
        (True, 1.5, "wanted a rating, a number, got True"),
        (2, None, "wanted 0, 1, true or false, got 2; give --above for ratings"),
    ],
)
def test_truths_that_are_none(value: Cell, above: float | None, told: str):
    with pytest.raises(ValueError, match=f"^{told}"):
        read_truth(value, above)


def test_several_emotions_have_semicolons_between_them():
    assert read_emotions("happy; sad") == ["happy", "sad"]
    assert read_emotions(None) == []
