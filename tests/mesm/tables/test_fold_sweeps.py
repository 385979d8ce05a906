"""Sweeps of folds are pooled: at the run's own p they are what the runs' scores give."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mesm.evaluation.pooled import pool
from mesm.evaluation.run import Run
from mesm.tables.sweeps import sweep_tables
from tests.mesm.corpus_of_speakers import write_corpus
from tests.mesm.folded_runs import write_run
from tests.mesm.tables.cases import texts
from tests.mesm.tables.test_sweeps import point as bare_point
from tests.mesm.trainings import as_single_label

THREE = ("fold.by=speaker", "fold.k=3", "evaluation.threshold=tuned")


def point(scored: Path, p: Any, flops: float, ms: float, **facts: Any) -> dict[str, Any]:
    """A point with the scores that a run has."""
    scores = Run(scored).scores
    names = ("task", "threshold", "emotions", "average", "f1_variant")
    kept = {name: scores[name] for name in names if name in scores}
    return bare_point(p, 0.0, flops, ms) | kept | facts


def write_sweep(run: Path, *points: dict[str, Any], name: str = "sweep.json", **facts: Any) -> None:
    content = {
        "corpus": "iemocap",
        "split": "test",
        "clips": Run(run).scores["clips"],
        "metric": "accuracy",
        "points": list(points),
        "baseline": None,
    }
    (run / name).write_text(json.dumps(content | facts))


def swept(out: Path, corpus: Path, seed: int = 0) -> list[Path]:
    """Three folds of a MESM, swept at two p beside an FE2E."""
    runs = []
    for fold in (1, 2, 3):
        changes = (*THREE, f"fold.index={fold}", f"training.seed={seed}")
        run = write_run(out / f"{fold}-{seed}", corpus, *changes, system="mesm")
        points = [point(run, p, flops * fold, 10.0 * fold) for p, flops in ((0.3, 2e9), (1.0, 4e9))]
        write_sweep(run, *points, baseline=point(run, None, 8e9 * fold, 40.0, run="fe2e"))
        runs.append(run)
    return runs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("swept") / "corpus")


@pytest.fixture(scope="module")
def folds(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folds") / "runs"
    for seed in (0, 1):
        swept(out, corpus, seed)
    return out


def test_folds_are_one_row_a_p_with_columns_over_them(folds: Path) -> None:
    (table,) = sweep_tables([folds])
    assert ("over folds", 2) in table.groups
    assert table.head[3:7] == ("Acc", "F1", "Acc", "F1")
    assert [(line[0], line[1], line[2]) for line in texts(table)] == [
        ("FE2E, beside MESM (p = 0.7)", "", "2"),
        ("MESM (p = 0.7): one training", "0.3", "2"),
        ("MESM (p = 0.7): one training", "1", "2"),
    ]
    pools = [pool([Run(folds / f"{fold}-{seed}") for fold in (1, 2, 3)]) for seed in (0, 1)]
    for line in table.rows:
        for cell, metric in zip(line.cells[3:5], ("accuracy", "f1"), strict=True):
            wanted = [found["pooled"]["average"][metric] for found in pools]
            assert cell.value["values"] == wanted
        over = line.cells[6].value["values"]
        each = [[fold["average"]["f1"] for fold in found["per_fold"]] for found in pools]
        assert over == pytest.approx([(a + b) / 2 for a, b in zip(*each, strict=True)])
    clips = [Run(folds / f"{fold}-0").scores["clips"] for fold in (1, 2, 3)]
    weighted = sum(fold * own for fold, own in zip((1, 2, 3), clips, strict=True)) / sum(clips)
    flops, share, ms, faster = table.rows[1].cells[-4:]
    assert flops.value["mean"] == pytest.approx(2e9 * weighted)
    assert share.value["mean"] == pytest.approx(0.25)
    assert ms.value["mean"] == pytest.approx(10 * weighted)
    assert faster.value["mean"] == pytest.approx(4 / weighted)
    assert "3 folds by speaker, so that every clip is tested once; 60 clips." in table.caption
    assert "Percent on the test split, 60 clips." in table.caption
    assert "Scores are pooled" in table.caption
    assert len(table.provenance["files"]) == 6
    assert {one["seed"] for one in table.provenance["files"]} == {0, 1}


def test_one_emotion_a_clip_has_its_own_scores(corpus: Path, tmp_path: Path) -> None:
    single = as_single_label(Path(shutil.copytree(corpus, tmp_path / "corpus")))
    runs = swept(tmp_path / "runs", single)
    (table,) = sweep_tables(runs)
    average = pool([Run(run) for run in runs])["pooled"]["average"]
    wanted = [average[name] for name in ("accuracy", "uar", "weighted_f1", "macro_f1")]
    assert [cell.value["mean"] for cell in table.rows[1].cells[3:7]] == pytest.approx(wanted)
    assert table.head[3:11] == ("Acc", "UAR", "WF1", "MF1") * 2


def test_budgets_of_folds_meet_the_share_by_other_p(corpus: Path, tmp_path: Path) -> None:
    runs = swept(tmp_path / "runs", corpus)
    for place, run in enumerate(runs):
        facts = {"budget": 0.5, "kind": "uniform", "share": 0.5}
        p = [0.4 + 0.1 * place] * 3
        write_sweep(run, point(run, p, 4e9, 9.0, **facts), name="budget.json")
        (run / "sweep.json").unlink()
    (table,) = sweep_tables(runs)
    (line,) = texts(table)
    assert line[1] == "budget 0.5, uniform"
    assert line[-4:] == ["4.000", "50.0", "9.0", "–"]
    assert table.rows[0].cells[1].value["p"] == [[[0.4] * 3, [0.5] * 3, [0.6000000000000001] * 3]]


def test_a_training_per_p_borrows_the_flops_of_each_folds_fe2e(
    corpus: Path, tmp_path: Path
) -> None:
    runs = swept(tmp_path / "runs", corpus)
    for fold, run in enumerate(runs, 1):
        write_sweep(run, point(run, 0.3, 4e9 * fold, 9.0), name="retrain.json")
    (table,) = sweep_tables(runs)
    assert texts(table)[-1][0] == "MESM (p = 0.7): a training per p"
    assert texts(table)[-1][-3:] == ["50.0", "9.0", "–"]


def test_points_and_folds_that_are_missing_are_said(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = Path(shutil.copytree(folds, tmp_path / "some"))
    (some / "2-1/sweep.json").unlink()
    run = some / "2-0"
    write_sweep(run, point(run, 0.3, 2e9, 10.0))
    (table,) = sweep_tables([some])
    assert [line[1:3] for line in texts(table)] == [["0.3", "1"]]
    said = capsys.readouterr().err
    assert "p = 1 was not measured in fold 2 of 3; sweep all folds alike" in said
    assert "not all folds are there and swept (sweep.json), 2 of 3 are not" in said
    write_sweep(run, point(run, 0.7, 2e9, 10.0))
    with pytest.raises(ValueError, match="no p was measured in all folds"):
        sweep_tables([some])
    (run / "sweep.json").unlink()
    with pytest.raises(ValueError, match="no training of which all folds are swept"):
        sweep_tables([some])
    with pytest.raises(ValueError, match=r"not all folds are there and swept .*2, 3 of 3 are not"):
        sweep_tables([some / "1-0"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content.update(split="valid"), "the test split alone, not on valid"),
        (lambda content: content["points"][0].pop("emotions"), "has no scores of single emotions"),
        (lambda content: content.update(clips=3), "has scores of angry that no 3 clips have"),
    ],
)
def test_what_cannot_be_pooled_is_refused(
    folds: Path, tmp_path: Path, damage: Any, message: str
) -> None:
    runs = [Path(shutil.copytree(folds / f"{i}-0", tmp_path / f"{i}")) for i in (1, 2, 3)]
    content = json.loads((runs[1] / "sweep.json").read_text())
    damage(content)
    (runs[1] / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        sweep_tables(runs)


def test_a_fold_twice_and_other_corpora_are_refused(folds: Path, tmp_path: Path) -> None:
    runs = [Path(shutil.copytree(folds / f"{i}-0", tmp_path / f"{i}")) for i in (1, 2, 3)]
    with pytest.raises(ValueError, match="for each of the folds 1 to 3, got 1, 1, 2, 3"):
        sweep_tables([*runs, folds / "1-0"])
    kept = json.loads((runs[2] / "fold.json").read_text())
    kept["identity"]["files"] = "others"
    (runs[2] / "fold.json").write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="on corpora that were prepared differently"):
        sweep_tables(runs)


def test_folds_and_other_runs_have_tables_of_their_own(
    folds: Path, corpus: Path, tmp_path: Path
) -> None:
    own = write_run(tmp_path / "own", corpus, "evaluation.threshold=tuned", system="mesm")
    write_sweep(own, point(own, 0.3, 2e9, 10.0))
    tables = sweep_tables([own, folds])
    assert [len(table.rows) for table in tables] == [1, 3]
    assert "Other files differ in corpus, split, metric, threshold policy or folds." in (
        tables[0].notes
    )
