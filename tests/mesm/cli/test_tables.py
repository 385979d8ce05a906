"""The table commands pass their options on, print, and write three files per table."""

import json

from typer.testing import CliRunner

from mesm.cli import app


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_tables_are_printed_and_written(tiny_mesm, tiny_fe2e, tiny_corpus, tmp_path):
    made = run("table", "results", tiny_mesm, tiny_fe2e, "--real", "--out", tmp_path / "tables")
    assert made.exit_code == 0
    assert "| MESM (p = 0.5)" in made.output
    assert "| *FE2E, the paper*" in made.output
    names = [f"results_iemocap_test.{ending}" for ending in ("json", "md", "tex")]
    assert sorted(file.name for file in (tmp_path / "tables").iterdir()) == names
    for command in (
        ("splits", tiny_corpus),
        ("ablation", tiny_mesm, tiny_fe2e),
        ("runs", tiny_mesm, tiny_fe2e, "--by", "model.name"),
    ):
        made = run("table", *command, "--out", tmp_path / command[0])
        assert made.exit_code == 0
        assert len(list((tmp_path / command[0]).iterdir())) == 3


def test_a_group_of_an_experiment(tiny_mesm, tiny_fe2e, tmp_path):
    plan = {
        "groups": {"ours": ["mesm"], "theirs": ["fe2e"]},
        "cells": {"mesm": {"folder": str(tiny_mesm)}, "fe2e": {"folder": str(tiny_fe2e)}},
    }
    (tmp_path / "experiment.json").write_text(json.dumps(plan))
    made = run("table", "results", tmp_path, "--group", "theirs", "--out", tmp_path / "tables")
    assert made.exit_code == 0
    assert "FE2E" in made.output
    assert "MESM" not in made.output
    refused = run("table", "results", tmp_path, "--group", "nobody's")
    assert refused.exit_code == 2
    assert "it has ours, theirs" in refused.output
