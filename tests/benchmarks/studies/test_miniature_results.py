"""The tables of the results take what the shipped experiment trains."""

import json

import pytest

from benchmarks.studies.miniature_results import COMPARED, RETRAINED, SEEDS, SWEPT
from mesm.experiment.grid import load_experiment
from mesm.experiment.plan import expand
from mesm.tables.runs import INCIDENTAL, flatten

CELLS = expand(load_experiment("miniature"))


def test_every_seed_has_the_two_runs_that_are_swept():
    names = {cell.name for cell in CELLS}
    for seed in SEEDS:
        assert {f"miniature_mesm--seed-{seed}", f"miniature_fe2e--seed-{seed}"} <= names


def test_every_p_that_is_measured_anew_has_a_model():
    trained = {
        cell.config.model.p
        for cell in CELLS
        if "p_curve" in cell.groups and cell.config.model.selection == "straight_through"
    }
    assert trained == set(RETRAINED)
    assert set(RETRAINED) <= set(SWEPT)


@pytest.mark.parametrize("group", COMPARED)
def test_rows_of_a_comparison_differ_in_nothing_but_its_settings(group):
    rows: dict[str, set[str]] = {}
    for cell in CELLS:
        if group not in cell.groups:
            continue
        settings = cell.config.model_dump(mode="json")
        chosen = []
        for key in COMPARED[group]:
            value = settings
            for part in key.split("."):
                value = value[part]
            chosen.append(value)
        flat = flatten(settings)
        rest = {key: value for key, value in flat.items() if key not in INCIDENTAL}
        rows.setdefault(json.dumps(chosen), set()).add(json.dumps(rest, sort_keys=True))
    assert len(rows) > 1
    assert {len(different) for different in rows.values()} == {1}
