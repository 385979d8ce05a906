"""An experiment whose cells are trained once per fold, killed on its way too."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
import yaml

from mesm.corpora.folds import FoldedCorpus
from mesm.evaluation.run import Run
from mesm.experiment import run as module
from mesm.experiment import run_experiment
from mesm.experiment.grid import load_experiment
from mesm.experiment.plan import check_cells, choose, expand, fold_sets
from tests.mesm.corpus_of_speakers import EMOTIONS, write_corpus
from tests.mesm.experiment.conftest import SMALL

pytestmark = pytest.mark.early

SHORT = [*SMALL, "model.modalities=tv", "training.epochs=1", "evaluation.threshold=tuned"]
FE2E = [f"miniature_fe2e--fold-{fold}--seed-0" for fold in range(1, 4)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("sessions") / "corpus", sessions=3)


def write(file: Path, place: Path, **values) -> Path:
    content = {
        "corpus": str(place),
        "seeds": [0],
        "overrides": SHORT,
        "folds": {"by": "session"},
        "grids": {"sessions": {"configs": ["miniature_fe2e"]}},
    }
    file.write_text(yaml.safe_dump(content | values, sort_keys=False), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def sessions(corpus, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("file") / "sessions.yaml", corpus)


@pytest.fixture(scope="module")
def whole(sessions, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run_experiment(sessions, out, jobs=2) == {}
    return out


def test_each_cell_is_trained_once_per_fold(whole):
    assert sorted(path.name for path in (whole / "runs").iterdir()) == FE2E
    plan = json.loads((whole / "experiment.json").read_text())
    assert plan["folds"] == {"miniature_fe2e--seed-0": FE2E}
    assert [plan["cells"][cell]["settings"]["fold"]["index"] for cell in FE2E] == [1, 2, 3]


def test_pooled_scores_are_those_of_all_predictions_at_once(whole):
    """Against a concatenation of the Parquet files and scores counted by hand."""
    import pyarrow.parquet as pq

    found = json.loads((whole / "folds.json").read_text())["miniature_fe2e--seed-0"]
    assert (found["by"], found["folds"]) == ("session", 3)
    decided, truth, dialogs, f1s = [], [], [], []
    for cell, fold in zip(FE2E, found["per_fold"], strict=True):
        run = whole / "runs" / cell
        table = pq.read_table(run / "predictions/test.parquet").to_pydict()
        scores = json.loads((run / "evaluation.json").read_text())["test"]
        assert fold["run"] == cell
        assert fold["test"] == [f"Ses0{fold['fold']}"]
        assert fold["average"] == scores["average"]
        for emotion in EMOTIONS:
            threshold = scores["threshold"]["values"][emotion]
            bound = np.log(threshold / (1 - threshold))
            decided.append((emotion, np.array(table[f"logit_{emotion}"], np.float64) > bound))
            truth.append((emotion, np.array(table[f"label_{emotion}"]) == 1))
        dialogs += table["dialog"]
        f1s.append(scores["average"]["f1"])
    pooled = found["pooled"]
    assert pooled["clips"] == len(dialogs) == 36
    for emotion in EMOTIONS:
        ours = np.concatenate([values for name, values in decided if name == emotion])
        labels = np.concatenate([values for name, values in truth if name == emotion])
        hits = (ours & labels).sum()
        f1 = 2 * hits / max(1, ours.sum() + labels.sum())
        assert pooled["emotions"][emotion]["f1"] == pytest.approx(f1, rel=1e-12)
        accuracy = (ours == labels).mean()
        assert pooled["emotions"][emotion]["accuracy"] == pytest.approx(accuracy, rel=1e-12)
    assert pooled["intervals"]["cluster"] == "dialog"
    assert pooled["intervals"]["units"] == len(set(dialogs))
    assert pooled["threshold"] == {"policy": "tuned on validation F1"}
    over = found["over_folds"]["average"]["f1"]
    assert over == pytest.approx({"mean": fmean(f1s), "deviation": stdev(f1s)})


def test_done_folds_are_skipped_and_pooled_again(whole, sessions, monkeypatch, capsys):
    monkeypatch.setattr(module, "run_jobs", None)
    before = (whole / "folds.json").read_bytes()
    assert run_experiment(sessions, whole, only="*--fold-2--*") == {}
    assert (whole / "folds.json").read_bytes() == before
    said = capsys.readouterr().out
    assert "3 folds by session" in said
    assert "1 of 1 cells are done" in said
    run_experiment(sessions, whole, dry_run=True)
    assert f"{FE2E[2]}  [sessions]  done" in capsys.readouterr().out


def test_some_folds_alone_are_not_pooled(sessions, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_experiment(sessions, out, only="*--fold-1--*") == {}
    assert "miniature_fe2e--seed-0: not pooled, as 2 of 3 folds" in capsys.readouterr().out
    assert json.loads((out / "folds.json").read_text()) == {}


def test_sigkill_in_the_middle_and_the_same_command(whole, sessions, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mesm", "experiment", str(sessions)),
            *("--out", str(out), "--jobs", "1"),
        ],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while not (out / "runs" / FE2E[1] / "fold.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline, "the second fold did not begin"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "folds.json").exists()
    assert run_experiment(sessions, out, jobs=2) == {}
    assert (out / "folds.json").read_bytes() == (whole / "folds.json").read_bytes()
    for cell in FE2E:
        one, two = (folder / "runs" / cell / "model.safetensors" for folder in (out, whole))
        assert one.read_bytes() == two.read_bytes()


def test_teachers_are_of_the_same_fold(corpus, tmp_path):
    grids = {
        "taught": [
            {"configs": ["miniature_fe2e"]},
            {"configs": ["miniature_mesm"], "teacher": "miniature_fe2e"},
        ]
    }
    experiment = load_experiment(write(tmp_path / "taught.yaml", corpus, grids=grids))
    cells = expand(experiment, out=tmp_path / "out")
    taught = [cell for cell in cells if cell.teacher]
    assert [cell.teacher for cell in taught] == FE2E
    assert [Path(cell.config.training.teacher).name for cell in taught] == FE2E
    sets = fold_sets(cells)
    assert [len(own) for own in sets.values()] == [3, 3]
    chosen = choose(cells, "miniature_mesm*--fold-3--*")
    assert [cell.name for cell in chosen] == [FE2E[2], taught[2].name]


def test_grids_have_folds_of_their_own(corpus, tmp_path):
    grids = {
        "sessions": {"configs": ["miniature_fe2e"]},
        "quarters": {"configs": ["miniature_mesm"], "folds": {"by": "speaker", "k": 4, "seed": 1}},
    }
    cells = expand(load_experiment(write(tmp_path / "two.yaml", corpus, grids=grids)))
    assert [cell.name for cell in cells] == [
        *FE2E,
        *(f"miniature_mesm--fold-{fold}--seed-0" for fold in (1, 2, 3, 4)),
    ]
    assert all(cell.config.fold.k == 4 for cell in cells[3:])
    check_cells(cells, tmp_path / "out", ["test"])
    changed = expand(load_experiment(tmp_path / "two.yaml"), ["fold.by=dialog"])
    assert {cell.config.fold.by for cell in changed} == {"dialog"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": {"by": "film"}}, r"folds\.by: .*'speaker', 'dialog' or 'session'"),
        ({"folds": {"by": "session", "index": 2}}, r"no key folds\.index; .* by, k, seed, valid"),
        (
            {"folds": {"by": "session"}, "splits": ["valid"]},
            "splits: folds are scored on test, got",
        ),
        ({"folds": {"by": "session", "k": 7}}, "wanted at least 7 for 7 folds, got 3: Ses01"),
        ({"folds": {"by": "session", "k": 1}}, r"folds\.k: .* greater than or equal to 2"),
        ({"corpus": "nowhere"}, "nowhere is not a prepared corpus"),
    ],
)
def test_bad_folds_are_refused(corpus, tmp_path, values, message):
    file = write(tmp_path / "bad.yaml", corpus, **values)
    with pytest.raises(ValueError, match=message):
        run_experiment(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_emotion_that_a_fold_lacks_is_refused_for_that_fold(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", clips=1)
    file = write(tmp_path / "bad.yaml", corpus)
    with pytest.raises(ValueError, match=r"fold 4 of 5 by session .* is sad or happy, which"):
        run_experiment(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_splits_of_a_begun_fold_are_cut_once(whole, sessions, tmp_path, monkeypatch):
    made = []
    init = FoldedCorpus.__init__

    def counted(self, corpus, fold, *rest):
        made.append(fold.index)
        init(self, corpus, fold, *rest)

    monkeypatch.setattr(FoldedCorpus, "__init__", counted)
    check_cells(expand(load_experiment(sessions)), whole, ["test"])
    assert made == [1, 2, 3]


def test_folds_of_a_corpus_that_changed_are_refused(whole, sessions, corpus, tmp_path):
    other = write_corpus(tmp_path / "other", sessions=3, seed=5)
    run = Run(whole / "runs" / FE2E[0])
    assert run.is_scored
    moved = tmp_path / "corpus"
    corpus.rename(moved)
    try:
        other.rename(corpus)
        with pytest.raises(ValueError, match=r"was trained on another corpus than .* is now"):
            run_experiment(sessions, whole)
        before = shutil.copytree(whole, tmp_path / "before")
        for record in before.glob("runs/*/corpus.json"):
            record.unlink()  # as earlier runs, whose fold.json tells as well
        with pytest.raises(ValueError, match="the same clips, prepared otherwise"):
            run_experiment(sessions, before)
    finally:
        corpus.rename(other)
        moved.rename(corpus)


def test_the_shipped_experiment_leaves_each_session_out(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    experiment = load_experiment("iemocap_sessions")
    cells = expand(experiment, [f"corpus={corpus}"])
    assert [cell.name for cell in cells if "sessions" in cell.groups] == [
        f"iemocap_{system}--fold-{fold}--seed-0"
        for system in ("fe2e", "mesm")
        for fold in range(1, 6)
    ]
    assert {cell.config.fold.by for cell in cells} == {"session"}
