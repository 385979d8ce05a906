"""Tables of runs on folds: pooled, over the folds, and apart from runs on other splits."""

import json
import shutil
from pathlib import Path
from statistics import fmean, stdev

import pytest

from mesm.evaluation.pooled import pool
from mesm.evaluation.run import Run
from mesm.plots.comparison import draw_comparison
from mesm.tables.ablation import ablation_tables
from mesm.tables.comparison import comparison_tables
from mesm.tables.formats import to_json, to_latex, to_markdown
from mesm.tables.notes import corpus_note, split_method
from mesm.tables.results import results_tables
from tests.mesm.corpus_of_speakers import write_corpus
from tests.mesm.folded_runs import write_run
from tests.mesm.tables.cases import texts

THREE = ("fold.by=speaker", "fold.k=3")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("tables") / "corpus")


@pytest.fixture(scope="module")
def folds(corpus, tmp_path_factory) -> Path:
    """Three folds of FE2E with two seeds."""
    out = tmp_path_factory.mktemp("runs") / "folds"
    for seed in (0, 1):
        for index in (1, 2, 3):
            changes = (*THREE, f"fold.index={index}", f"training.seed={seed}")
            write_run(out / f"{index}-{seed}", corpus, *changes)
    return out


def pools(folds: Path) -> list[dict]:
    return [pool([Run(folds / f"{i}-{seed}") for i in (1, 2, 3)]) for seed in (0, 1)]


def test_results_are_pooled_and_over_folds(folds):
    (table,) = results_tables([folds])
    first, second = table.rows
    assert [str(line.cells[0]) for line in table.rows] == ["FE2E, pooled", "FE2E, over folds"]
    assert [str(line.cells[1]) for line in table.rows] == ["2", "2"]
    found = pools(folds)
    values = [one["pooled"]["average"]["f1"] for one in found]
    assert first.cells[-1].value["values"] == values
    each = [fmean(one["per_fold"][fold]["average"]["f1"] for one in found) for fold in range(3)]
    assert second.cells[-1].value["values"] == pytest.approx(each)
    assert second.cells[-1].text == f"{100 * fmean(each):.1f} ± {100 * stdev(each):.1f}"
    assert "3 folds by speaker, so that every clip is tested once; 60 clips" in table.caption
    assert "Scores are pooled" in table.caption
    assert len(table.provenance["runs"][0]["weights"]) == 3
    json.dumps(to_json(table), allow_nan=False)
    assert "over folds" in to_markdown(table)
    assert "over folds" in to_latex(table)


def test_folds_and_other_runs_are_never_in_one_table(folds, corpus, tmp_path):
    own = write_run(tmp_path / "own", corpus)
    other = tmp_path / "sessions"
    for index in range(1, 6):
        changes = ("fold.by=session", f"fold.index={index}")
        write_run(other / str(index), corpus, *changes)
    tables = results_tables([folds, own, other])
    assert sorted(len(table.rows) for table in tables) == [1, 2, 2]
    assert all("Other runs differ in" in table.caption for table in tables)
    assert all("folds" in table.caption.rpartition("Other runs")[2] for table in tables)


def test_missing_folds_are_left_out_and_said(folds, tmp_path, capsys):
    some = tmp_path / "some"
    shutil.copytree(folds, some)
    shutil.rmtree(some / "2-1")
    (table,) = results_tables([some])
    assert str(table.rows[0].cells[1]) == "1"
    said = capsys.readouterr().err
    assert "not all folds are there and scored, 2 of 3 are not" in said
    for name in ("1-0", "2-0", "3-0", "1-1"):
        shutil.rmtree(some / name)
    with pytest.raises(ValueError, match="not all folds are there and scored, 1, 2 of 3 are not"):
        results_tables([some])


def test_other_splits_are_not_pooled(folds, tmp_path):
    some = tmp_path / "some"
    shutil.copytree(folds / "1-0", some)
    scores = json.loads((some / "evaluation.json").read_text())
    (some / "evaluation.json").write_text(json.dumps(scores | {"valid": scores["test"]}))
    with pytest.raises(ValueError, match="scored together on the test split alone, not on valid"):
        results_tables([some], "valid")


def test_ablation_and_comparison_have_columns_over_folds(folds, corpus, tmp_path):
    some = tmp_path / "runs"
    for modalities in ("tav", "tv"):
        for index in (1, 2, 3):
            changes = (*THREE, f"fold.index={index}", f"model.modalities={modalities}")
            write_run(some / f"{modalities}{index}", corpus, *changes)
    (table,) = ablation_tables([some])
    assert ("over folds", 2) in table.groups
    assert [line[1] for line in texts(table)] == ["TAV", "TV"]
    assert all("±" in line[-1] and "±" not in line[-3] for line in texts(table))
    (table,) = comparison_tables(
        [some, folds / "1-1", folds / "2-1", folds / "3-1"], ["model.modalities", "training.seed"]
    )
    assert len(table.rows) == 3
    assert ("over folds", 2) in table.groups
    (table,) = comparison_tables([folds], ["training.seed"])
    assert [line[0] for line in texts(table)] == ["0", "1"]
    assert draw_comparison(table) is not None


def test_the_note_of_a_fold(folds, tmp_path):
    manifest = Run(folds / "2-0").manifest
    assert split_method(manifest.options) == "fold 2 of 3 by speaker"
    assert "fold 2 of 3 by speaker; train/valid/test" in corpus_note(manifest, True)
