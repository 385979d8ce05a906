"""Which runs of an experiment a table takes."""

import json
from pathlib import Path

import pytest

from mesm.tables.experiments import group_folders


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    cells = {}
    for name, scored in (("one", True), ("two", True), ("three", False)):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        if scored:
            (folder / "evaluation.json").write_text("{}")
        cells[name] = {"folder": f"runs/{name}"}
    groups = {"a": ["one", "three"], "b": ["two", "one"], "c": ["three"]}
    (tmp_path / "experiment.json").write_text(json.dumps({"groups": groups, "cells": cells}))
    return tmp_path


def test_without_a_group_the_places_themselves(tmp_path):
    assert group_folders([tmp_path / "anything"], None) == [tmp_path / "anything"]


def test_the_scored_cells_of_a_group_in_its_order(experiment, capsys):
    runs = experiment / "runs"
    assert group_folders([experiment], "b") == [runs / "two", runs / "one"]
    assert capsys.readouterr().err == ""
    assert group_folders([experiment], "a") == [runs / "one"]
    assert "1 of 2 cells of 'a' are left out" in capsys.readouterr().err


def test_refuses_what_is_no_experiment_and_unknown_or_unscored_groups(experiment):
    with pytest.raises(ValueError, match=r"no experiment\.json in it"):
        group_folders([experiment / "runs"], "a")
    with pytest.raises(ValueError, match="has no group 'd'; it has a, b, c"):
        group_folders([experiment], "d")
    with pytest.raises(ValueError, match="no cell of 'c' is scored yet"):
        group_folders([experiment], "c")
