"""Splits that lack an emotion, and the seed that mends it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesm.corpora.splits import SplitPolicy
from mesm.corpora.table.check import check_table
from mesm.corpora.table.problems import TableError


def write(file: Path, emotions: list[str]) -> Path:
    """Texts, each of another group and speaker."""
    rows = [f"t{place},{emotion},s{place},g{place}" for place, emotion in enumerate(emotions)]
    file.write_text("\n".join(["text,emotion,speaker,group", *rows]), encoding="utf-8")
    return file


@pytest.mark.parametrize("policy", ["random", "speaker", "group"])
def test_a_seed_that_has_all_emotions_everywhere_is_named(
    tmp_path: Path, policy: SplitPolicy
) -> None:
    table = write(tmp_path / "clips.csv", ["glad"] * 26 + ["rare"] * 4)
    seeds = {}
    for seed in range(6):
        try:
            lines = check_table(table, policy, seed)
        except TableError as error:
            (told,) = set(re.findall(r"--seed (\d+) has all emotions everywhere", str(error)))
            seeds[seed] = int(told)
        else:
            assert any(re.fullmatch(r"rare +[1-9] +[1-9] +[1-9]", line) for line in lines)
    assert seeds
    for told in set(seeds.values()):
        check_table(table, policy, told)


def test_where_no_seed_helps_more_clips_are_wanted(tmp_path: Path) -> None:
    table = write(tmp_path / "clips.csv", ["glad"] * 26 + ["rare"] * 2)
    with pytest.raises(TableError, match=r"is rare; label more clips, or leave the emotion out"):
        check_table(table, "random")


def test_too_few_speakers_and_empty_splits(tmp_path: Path) -> None:
    table = write(tmp_path / "clips.csv", ["glad", "sad"])
    with pytest.raises(TableError, match="a split by speaker needs at least 3 speakers, got 2"):
        check_table(table, "speaker")
    with pytest.raises(TableError, match="column split: the valid split has no clip"):
        check_table(table, "random")
    with pytest.raises(TableError, match="line 1, column split: there is no such column"):
        check_table(table, "column")
