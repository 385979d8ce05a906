"""Predictions as a table on the screen and in files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mesm.inference.output import SHOWN, check_output, format_table, write_predictions
from mesm.inference.recording import InputError
from mesm.inference.results import Prediction

EMOTIONS = ("happy", "sad")


def prediction(**changes: object) -> Prediction:
    values: dict[str, object] = {
        "file": Path("a, b.mp4"),
        "start": 3599.96,
        "end": 3601.0,
        "text": 'she said "no"\nand left',
        "probabilities": {"happy": 0.25, "sad": 0.875},
        "calibrated": None,
        "thresholds": {"happy": 0.5, "sad": 0.5},
        "policy": "0.5",
        "decided": ("sad",),
        "faces": 1,
        "frames": 3,
        "people": 1,
        "person": None,
        "missing": (),
        "notes": (),
        "system": "MESM",
        "weights": "0" * 64,
    }
    return Prediction(**(values | changes))  # type: ignore[arg-type]


def test_every_form_has_the_same_figures(tmp_path: Path) -> None:
    found = [prediction(), prediction(text=None, missing=("text",), person=2)]
    for ending in ("jsonl", "csv", "PARQUET"):
        write_predictions(tmp_path / f"new/out.{ending}", found, EMOTIONS)
    lines = (tmp_path / "new/out.jsonl").read_text().splitlines()
    with (tmp_path / "new/out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "new/out.PARQUET").to_pylist()
    for own, line, row, kept in zip(found, lines, rows, table, strict=True):
        assert json.loads(line)["text"] == own.text == kept["text"]
        assert row["text"] == (own.text or "")
        assert row["file"] == kept["file"] == "a, b.mp4"
        assert float(row["probability_sad"]) == kept["probability_sad"] == 0.875
        assert kept["person"] == own.person
        assert row["missing"] == ";".join(own.missing)


def test_a_star_stands_at_what_is_decided_for_and_long_texts_are_cut() -> None:
    head, line = format_table([prediction(text="x" * 99)], EMOTIONS).splitlines()
    assert head.split()[:4] == ["start", "end", "happy", "sad"]
    assert line.split()[:5] == ["1:00:00.0", "1:00:01.0", "25.0", "87.5*", "1/3"]
    assert line.endswith(f"“{'x' * (SHOWN - 1)}…”")


def test_people_have_a_column_where_somebody_was_asked_for() -> None:
    head, line = format_table([prediction(person=2, missing=("sound",))], EMOTIONS).splitlines()
    assert head.split()[2] == "person"
    assert line.split()[2] == "2"
    assert "no sound; “she said" in line


def test_other_endings_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wanted a file that ends with \.jsonl, \.csv, \.parquet"):
        check_output(tmp_path / "out.xlsx")
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        check_output(tmp_path / "out.csv")
    assert check_output(tmp_path / "out.JSONL") == tmp_path / "out.JSONL"
