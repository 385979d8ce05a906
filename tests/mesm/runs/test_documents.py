"""Files that the project writes have these shapes; another content is refused by name."""

import json
from pathlib import Path

import pytest

from mesm.runs.documents import Attention, Evaluation, Plan, ShownSweep, Sweep
from mesm.runs.files import read_json

RUNS = Path(__file__).parents[2] / "data" / "legacy" / "runs"
FILES = [
    ("evaluation.json", Evaluation),
    ("sweep.json", Sweep),
    ("explain/action_units.json", Attention),
    ("sweep.json", ShownSweep),
]


@pytest.mark.parametrize(("name", "shape"), FILES)
def test_files_of_before_are_read(name, shape):
    found = [file for run in RUNS.iterdir() if (file := run / name).is_file()]
    assert found
    for file in found:
        assert read_json(file, shape) == json.loads(file.read_text())


def spoil(content, place, value):
    """A copy with one value, by its place, replaced."""
    if not place:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[place[0]] = spoil(copy[place[0]], place[1:], value)
    return copy


@pytest.mark.parametrize("shape", [Evaluation, Sweep, Attention, Plan])
@pytest.mark.parametrize("content", [None, [], "x", 0, {"test": {}, "points": [], "cells": []}])
def test_another_content_is_damaged(shape, content, tmp_path):
    (tmp_path / "file.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"file\.json: damaged, at .*; delete it and make it"):
        read_json(tmp_path / "file.json", shape)


@pytest.mark.parametrize(("name", "shape"), FILES[:2])
def test_scores_of_another_type_are_damaged(name, shape, tmp_path):
    content = json.loads((RUNS / "iemocap_mesm" / name).read_text())
    key = "points" if shape is Sweep else "test"
    keys = ("clips", "threshold", "emotions", "average") if shape is Evaluation else (0,)
    for inner in keys:
        for value in (None, "x", []):
            (tmp_path / "file.json").write_text(json.dumps(spoil(content, (key, inner), value)))
            with pytest.raises(ValueError, match=rf"damaged, at {key}\.{inner}"):
                read_json(tmp_path / "file.json", shape)


@pytest.mark.parametrize("key", ["p", "average", "flops_per_clip", "active_sites", "threshold"])
def test_a_sweep_without_what_a_report_shows_is_damaged(key, tmp_path):
    content = json.loads((RUNS / "iemocap_mesm" / "sweep.json").read_text())
    del content["points"][0][key]
    (tmp_path / "file.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"damaged, at points\.0\.{key}"):
        read_json(tmp_path / "file.json", ShownSweep)
