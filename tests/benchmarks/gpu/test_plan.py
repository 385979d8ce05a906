"""The order of the rows is the order of what is wanted, and each has a name of its own."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from benchmarks.gpu import plan
from benchmarks.gpu.families import families_of
from benchmarks.gpu.plan import chosen, rows, setting_of

SETTING = setting_of("cuda", Path("out"), small=False)
ROWS = rows(SETTING)


def place(text: str) -> int:
    return next(n for n, row in enumerate(ROWS) if text in row.name)


def test_names_are_unique_and_rows_can_be_sent_to_processes() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert pickle.loads(pickle.dumps(row)).name == row.name


def test_the_most_wanted_come_first() -> None:
    wanted = (
        *("ceilings", "block inference 64→128 @ 24x24 p=0.5 bfloat16", "block training step 64"),
        *("eager block training step", "MESM inference 64 clips", "eager MESM inference 64 clips"),
        *("MESM inference 8 clips p=0.5", "first training step", "p=0.1", "p=0.05"),
        *("kernels of training step", "p=1 ", "convolutions op", "p=0.2", "float32", "64x16"),
        *("ops 64→128 @ 24x24", "MESM inference 64 clips p=0.1", "ncu"),
    )
    places = [place(text) for text in wanted]
    assert places == sorted(places)


def test_rows_of_one_rival_are_one_family() -> None:
    families = {family.name: family for family in families_of(ROWS)}
    assert sum(len(family.rows) for family in families.values()) == len(ROWS)
    for row in ROWS:
        if row.measure.rival:
            assert row.measure.family == row.measure.rival.name
    names = [row.name for row in families["dense block training step 256→512 @ 6x6 bfloat16"].rows]
    assert names[:2] == [
        "block training step 256→512 @ 6x6 p=0.5 bfloat16",
        "eager block training step 256→512 @ 6x6 p=0.5 bfloat16",
    ]
    assert "kernels of training step 256→512 @ 6x6" in names
    assert len(families) < 36


def test_goals_are_those_of_the_largest_batch() -> None:
    goals = {row.name: dict(row.goals) for row in ROWS}
    assert goals["MESM training step 64 clips p=0.5 bfloat16"] == {
        "ratio": plan.MODEL_GOALS[1],
        "peak_of_dense": 1.0,
    }
    assert goals["MESM training step 8 clips p=0.5 bfloat16"] == {}
    assert goals["block inference 256→512 @ 6x6 p=0.05 bfloat16"] == {"ratio": 3.5}


def test_rows_are_chosen_by_name() -> None:
    assert chosen(ROWS, None) is ROWS
    assert [row.name for row in chosen(ROWS, "^block inference 64->128.*p=1 ")] == [
        "block inference 64→128 @ 24x24 p=1 bfloat16"
    ]
    with pytest.raises(ValueError, match="fits the name of no row"):
        chosen(ROWS, "nothing like that")
    with pytest.raises(ValueError, match="no regular expression"):
        chosen(ROWS, "(")


def test_a_rehearsal_has_a_row_of_each_kind() -> None:
    small = rows(setting_of("cpu", Path("out"), small=True))
    assert {type(row.measure) for row in small} == {type(row.measure) for row in ROWS}
    assert len(small) < 40
