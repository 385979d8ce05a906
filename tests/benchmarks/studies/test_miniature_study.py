"""Tests what the study trains, how its rows are called, and how rows go into the results."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import miniature_study
from benchmarks.studies.miniature_study import (
    dense_of,
    first_stage_shares,
    flops_of,
    publish,
    row_name,
)
from benchmarks.studies.miniature_summary import HARD
from benchmarks.tables.learning import SYSTEMS
from mesm.experiment.grid import load_experiment
from mesm.experiment.plan import describe_plan, expand
from mesm.tables.runs import flatten

EXPERIMENT = load_experiment("study")
CELLS = expand(EXPERIMENT)
NAMES = {cell.name: row_name(cell.config.model.name, cell.changes) for cell in CELLS}


def test_the_headline_is_fe2e_and_mesm_at_two_p_and_the_papers_selection_for_two_seeds() -> None:
    found = {(NAMES[c.name], c.config.training.seed) for c in CELLS if "headline" in c.groups}
    rows = ("fe2e", "mesm", "mesm p=0.3", HARD)
    assert found == {(row, seed) for row in rows for seed in (0, 1)}


def test_every_row_of_the_parts_differs_from_mesm_or_fe2e_in_one_setting() -> None:
    whole = {
        NAMES[cell.name]: flatten(cell.config.model_dump(mode="json"))
        for cell in CELLS
        if cell.config.training.seed == 0 and NAMES[cell.name] in ("fe2e", "mesm")
    }
    parts = [
        cell
        for cell in CELLS
        if "parts" in cell.groups and cell.config.training.seed == 0 and NAMES[cell.name] != "mesm"
    ]
    assert len(parts) == len({NAMES[cell.name] for cell in parts}) >= 7
    for cell in parts:
        settings = flatten(cell.config.model_dump(mode="json"))
        base = whole[cell.config.model.name]
        assert sum(settings[key] != base[key] for key in base) == 1, cell.name


def test_every_p_of_the_curve_and_the_baselines_are_trained() -> None:
    curve = {c.config.model.p for c in CELLS if "p_curve" in c.groups}
    assert curve | {0.5} <= set(miniature_study.P_CURVE)
    assert {c.config.model.name for c in CELLS if "baselines" in c.groups} == set(SYSTEMS) - {
        "fe2e",
        "mesm",
    }


def test_a_row_is_called_by_its_system_and_what_it_changes() -> None:
    assert row_name("fe2e", {}) == "fe2e"
    changes = {"training.p_hold_epochs": 0, "model.p": 0.3, "training.teacher": "miniature_fe2e"}
    assert row_name("mesm", changes) == "mesm p=0.3 p_hold_epochs=0"
    assert row_name("mesm", {}) == "mesm teacher=None"


def test_a_mesm_is_measured_beside_the_fe2e_of_its_seed() -> None:
    plan = describe_plan(EXPERIMENT, CELLS)["cells"]
    for seed in (0, 1):
        assert dense_of(plan, seed) == f"runs/miniature_fe2e--seed-{seed}"


def test_the_first_stage_is_left_out_of_the_blocks() -> None:
    shares = first_stage_shares((16, 32, 64, 128))
    assert all(0.1 < share < 0.4 for share in shares.values())
    dense = {"total": 300.0, "by_modality": {"face": 100.0, "audio": 200.0}}
    first = 100 * shares["face"] + 200 * shares["audio"]
    own = {"flops_per_clip": {"total": first + 5}}
    found = flops_of(own, {"flops_per_clip": dense}, shares)
    assert found["mesm_blocks"] == pytest.approx(5)
    assert found["fe2e_blocks"] == pytest.approx(300 - first)


def row(corpus: int, seed: int, f1: float, rate: float = 0.1) -> dict[str, Any]:
    return {
        **{"row": "fe2e", "system": "fe2e", "groups": ["headline"]},
        **{"corpus_seed": corpus, "seed": seed, "f1": f1, "branches": {}},
        **{"ece": 0.1, "epoch_seconds": 1.0},
        "settings": {"training": {"seed": seed, "learning_rate": rate}},
    }


def test_new_rows_join_older_ones_and_replace_those_of_the_same_run(tmp_path: Path) -> None:
    results = tmp_path / "study.json"
    publish(results, 3000, [row(21, 0, 0.5), row(22, 0, 0.6)])
    publish(results, 3000, [row(22, 0, 0.8), row(21, 1, 0.7)])
    found = json.loads(results.read_text())
    assert [(r["corpus_seed"], r["seed"], r["f1"]) for r in found["rows"]] == [
        (21, 0, 0.5),
        (21, 1, 0.7),
        (22, 0, 0.8),
    ]
    assert found["summary"]["rows"]["fe2e"]["f1"]["mean"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="of 3000 clips, not 100"):
        publish(results, 100, [row(23, 0, 0.5)])


def test_runs_of_other_settings_do_not_meet_under_one_name(tmp_path: Path) -> None:
    results = tmp_path / "study.json"
    publish(results, 3000, [row(21, 0, 0.5)])
    before = results.read_text()
    with pytest.raises(ValueError, match="fe2e of corpus seed 21 was trained with other settings"):
        publish(results, 3000, [row(22, 0, 0.5, rate=0.2)])
    assert results.read_text() == before
    publish(results, 3000, [row(21, 0, 0.6, rate=0.2), row(22, 0, 0.5, rate=0.2)])
