"""A page of folds shows their pooled scores, and mean and deviation over them."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mesm.evaluation.pooled import pool
from mesm.evaluation.run import Run
from mesm.report.page import write_report
from mesm.runs.environment import describe
from tests.mesm.corpus_of_speakers import write_corpus
from tests.mesm.folded_runs import write_run
from tests.mesm.report.test_page import read
from tests.mesm.tables.test_fold_sweeps import point, write_sweep
from tests.mesm.trainings import as_single_label

THREE = ("fold.by=speaker", "fold.k=3")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("reported") / "corpus")


def write_folds(out: Path, corpus: Path, system: str = "fe2e", seed: int = 0) -> list[Path]:
    changes = (*THREE, f"training.seed={seed}")
    return [
        write_run(
            out / f"{system}--fold-{i}--seed-{seed}",
            corpus,
            *(*changes, f"fold.index={i}"),
            system=system,
        )
        for i in (1, 2, 3)
    ]


def shown_sweep(run: Path) -> None:
    """A sweep.json with all that a page wants of one."""
    costs: dict[str, Any] = {
        "flops_per_clip": {"total": 2e9, "attention": 1e8},
        "latency_ms_per_clip": {"model": 10.0, "extraction": 8.0},
    }
    sites = {"face": [0.5, 0.4, 0.3], "audio": [0.5, 0.4, 0.3]}
    setting = {"repeats": 5, "batch_size": 8, "device": "cpu", "threads": 1, "dtype": "float32"}
    write_sweep(
        run,
        point(run, 0.7, 2e9, 10.0, **costs, active_sites=sites),
        trained_p=0.7,
        latency_setting=setting,
        environment=describe(),
    )


def test_folds_are_one_with_two_rows(corpus: Path, tmp_path: Path) -> None:
    runs = [*write_folds(tmp_path, corpus), *write_folds(tmp_path, corpus, "mesm")]
    for run in runs[3:]:
        shown_sweep(run)
    history = {"epoch": 1, "train_loss": 0.5, "valid_loss": 0.4, "valid_f1": 0.3, "seconds": 2.0}
    for run in runs:
        (run / "metrics.jsonl").write_text(json.dumps(history) + "\n")
    page, outline = read(write_report(tmp_path / "report.html", runs[::-1]))
    found = pool([Run(run) for run in runs[:3]])
    rows = {row[0]: row for row in outline.rows if row}
    mean = found["over_folds"]["average"]["f1"]
    assert rows["FE2E, pooled"][-1] == f"{100 * found['pooled']['average']['f1']:.1f}"
    wanted = f"{100 * mean['mean']:.1f} ± {100 * mean['deviation']:.1f}"
    assert rows["FE2E, over folds"][-1] == wanted
    assert rows["MESM (p = 0.7), pooled"][1] == "2.00"
    assert rows["FE2E, pooled"][1] == "–"
    # Every clip is a test clip of one fold.
    assert rows["all clips"][-1] == "60"
    assert rows["MESM (p = 0.7): one training"][1] == "0.7"
    for text in (
        "in 3 folds by speaker, so that every clip is tested once.",
        "average F1 of FE2E, all folds pooled",
        "mean ± sample deviation of the folds",
        "seed 0, 3 folds, 3 epochs, 6 s",
        "FE2E, its first fold: config.yaml",
    ):
        assert text in page
    assert "[fe2e" not in page
    average = found["pooled"]["calibration"]["average"]
    wanted = (
        f"expected calibration error {100 * average['ece']:.1f} % on average, "
        f"{100 * average['ece_calibrated']:.1f} % with a temperature of each fold, fitted to"
    )
    assert wanted in page


def test_two_seeds_are_told_apart_by_their_folders(corpus: Path, tmp_path: Path) -> None:
    runs = [run for seed in (0, 1) for run in write_folds(tmp_path, corpus, seed=seed)]
    page, _ = read(write_report(tmp_path / "report.html", runs))
    assert re.findall(r"<td>(FE2E \[.*?\], pooled)</td>", page) == [
        f"FE2E [fe2e--seed-{seed}], pooled" for seed in (0, 1)
    ]


def test_one_emotion_a_clip_has_one_matrix_of_all_folds(corpus: Path, tmp_path: Path) -> None:
    single = as_single_label(Path(shutil.copytree(corpus, tmp_path / "corpus")))
    page, outline = read(write_report(tmp_path / "report.html", write_folds(tmp_path, single)))
    assert "macro F1 of FE2E, all folds pooled" in page
    assert page.count("FE2E, test split, 60 clips: a row per emotion") == 2  # caption and alt text
    assert [row[0] for row in outline.rows if "over folds" in row[:1][0]] == ["FE2E, over folds"]


def test_a_fold_alone_is_as_any_run(corpus: Path, tmp_path: Path) -> None:
    run = write_folds(tmp_path, corpus)[1]
    page, _ = read(write_report(tmp_path / "report.html", [run]))
    assert "pooled" not in page
    assert f"{Run(run).scores['clips']} clips" in page


def test_some_folds_and_other_splits_are_refused(corpus: Path, tmp_path: Path) -> None:
    runs, out = write_folds(tmp_path, corpus), tmp_path / "report.html"
    own = write_run(tmp_path / "own", corpus)
    other = write_run(tmp_path / "other", corpus, "fold.by=session", "fold.index=1")
    scores = json.loads((own / "evaluation.json").read_text())["test"]
    for run in runs:
        file = run / "evaluation.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"valid": scores}))
    for wrong, split, message in (
        (runs[:2], "test", r"fold-1--seed-0 and 1 more: .* got none for 3 of 3; name them too"),
        ([*runs, own], "test", "got folds by speaker .*; the corpus' own split .*a page of each"),
        ([*runs, other], "test", "got folds by session .*; folds by speaker"),
        (runs, "valid", "the test split alone, not on valid"),
        ([*runs, runs[0]], "test", "for each of the folds 1 to 3, got 1, 1, 2, 3"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report(out, wrong, split=split)
    assert not out.exists()
