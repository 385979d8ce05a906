"""The trainings of the study of the variant "where", and how its rows are summed up."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.where_study import EXPERIMENT, hits, publish, summarise
from mesm.experiment.grid import load_experiment
from mesm.experiment.plan import expand


def test_fe2e_and_mesm_whose_own_text_asks_are_trained_for_two_seeds() -> None:
    cells = expand(load_experiment(EXPERIMENT))
    assert {(cell.config.model.name, cell.config.training.seed) for cell in cells} == {
        (system, seed) for system in ("fe2e", "mesm") for seed in (0, 1)
    }
    ours = [cell.config.model for cell in cells if cell.config.model.name == "mesm"]
    assert {model.query_shuffle for model in ours} == {0}
    assert {model.p for model in ours} == {0.5}
    # Both see the same, and the voice says nothing.
    assert {cell.config.model.modalities for cell in cells} == {"tv"}


def row(system: str, f1: float, other: float = 0.0) -> dict[str, Any]:
    return {"system": system, "f1": f1} | (
        {"f1_of_another_query": other} if system == "mesm" else {}
    )


@pytest.mark.parametrize(
    ("other", "reached", "dense", "above"), [(0.45, True, 0.55, True), (0.51, False, 0.7, False)]
)
def test_the_goals_are_of_the_means(other: float, reached: bool, dense: float, above: bool) -> None:
    rows = [row("fe2e", dense), row("mesm", 0.7, other + 0.1), row("mesm", 0.5, other - 0.1)]
    found = summarise(rows)
    assert found["mesm"] == pytest.approx(0.6)
    assert found["mesm_asked_by_another"] == pytest.approx(other)
    assert found["own_query_10_points_above_anothers"] is reached
    assert found["above_fe2e"] is above


def test_hits_are_those_of_the_blocks_and_of_all() -> None:
    places = [{"sites": {"ratio": ratio}} for ratio in (1.0, 1.5, 2.0, 3.0)]
    assert hits({"blocks": places[:3], "final": places[3]}) == [1.0, 1.5, 2.0, 3.0]


def test_a_corpus_measured_anew_takes_the_place_of_its_rows(tmp_path: Path) -> None:
    def rows(corpus: int, f1: float) -> list[dict[str, Any]]:
        own = {"corpus_seed": corpus, "seed": 0}
        return [own | row("fe2e", 0.5), own | row("mesm", f1, 0.5)]

    results = tmp_path / "where.json"
    publish(results, 10, rows(2, 0.6))
    publish(results, 10, rows(1, 0.7))
    publish(results, 10, rows(2, 0.8))
    found = json.loads(results.read_text())["rows"]
    assert [(row["corpus_seed"], row["system"], row["f1"]) for row in found] == [
        (1, "fe2e", 0.5),
        (1, "mesm", 0.7),
        (2, "fe2e", 0.5),
        (2, "mesm", 0.8),
    ]
    with pytest.raises(ValueError, match="is of 10 clips, not 11"):
        publish(results, 11, rows(1, 0.7))
