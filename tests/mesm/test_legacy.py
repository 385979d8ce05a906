"""Corpora and runs that commit b996644 made: they open, and say what they said then."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mesm.analysis.attention_score import score_attention
from mesm.analysis.explain import explain
from mesm.analysis.sweep import sweep
from mesm.config.files import load_config
from mesm.corpora.prepared import PreparedCorpus
from mesm.evaluation.bootstrap import Bootstrap
from mesm.evaluation.evaluate import evaluate_run
from mesm.evaluation.predictions import Predictions
from mesm.evaluation.run import Run
from mesm.features.store import FeatureStore
from mesm.runs.checkpoints import read_progress
from mesm.runs.folder import RunFolder
from mesm.tables.results import results_tables
from mesm.tables.sweeps import sweep_tables
from mesm.training.loop import train

DATA = Path(__file__).parents[1] / "data" / "legacy"
RUNS = sorted(path.name for path in (DATA / "runs").iterdir())
SPARSE = [name for name in RUNS if "_mesm" in name]
# Between the reference and the C++ kernels, and between one thread and two, logits differ by 2.4e-7
# at most and attention by 1e-6, to which the files round it; both keep the same sites.
LOGITS = {"atol": 1e-5, "rtol": 0.0}
ATTENTION = {"abs": 2e-6}
# Scores, hit rates and FLOPs are sums over these.
FIGURES = {"rel": 1e-5, "abs": 1e-6}


@pytest.fixture
def legacy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to write into; runs name their corpus relative to its folder."""
    folder = tmp_path / "legacy"
    shutil.copytree(DATA, folder)
    monkeypatch.chdir(folder)
    return folder


def assert_alike(found: Any, wanted: Any, where: str = "") -> None:
    """Equal in form, and in figures up to `FIGURES`."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key, value in wanted.items():
            assert_alike(found[key], value, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for place, value in enumerate(wanted):
            assert_alike(found[place], value, f"{where}[{place}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, **FIGURES), where
    else:
        assert found == wanted, where


@pytest.mark.parametrize(("layout", "clips"), [("iemocap", 7), ("mosei", 5)])
def test_a_corpus_is_whole_and_its_features_are_its_own(
    legacy: Path, layout: str, clips: int
) -> None:
    corpus = PreparedCorpus.open(Path("corpora") / layout)
    corpus.verify()
    found = [clip for split in ("train", "valid", "test") for clip in corpus.split(split)]
    assert len(found) == clips
    assert all(len(clip.faces) and clip.spectrogram.shape[1] > 100 for clip in found)
    store = FeatureStore.open(corpus)
    assert store.dims == {"text": 300, "audio": 34, "video": 35}
    assert all(len(store.clip(clip.clip_id).words) for clip in found)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_predicts_what_it_predicted(legacy: Path, name: str) -> None:
    kept = Predictions.read(RunFolder(Path("runs") / name).predictions("test"))
    logits, labels = Run.open(Path("runs") / name).predict("test")
    torch.testing.assert_close(logits, kept.logits, **LOGITS)
    assert torch.equal(labels, kept.labels)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_scores_what_it_scored(legacy: Path, name: str, fresh: bool) -> None:
    folder = RunFolder(Path("runs") / name)
    wanted = json.loads(folder.evaluation.read_text())["test"]
    before = folder.predictions("test").stat().st_mtime_ns
    scores = evaluate_run(folder.path, fresh=fresh, bootstrap=Bootstrap(draws=50))
    # Old predictions hold no branches; MulT has none, and this LF-LSTM only one.
    assert ("branches" in scores) == (fresh and name not in ("iemocap_mult", "mosei_lf_lstm"))
    scores.pop("branches", None)
    # These runs kept no temperatures; tuned thresholds need the predictions that give them.
    assert ("fitted" in scores.pop("calibration")) == ("tuned" in wanted["threshold"]["policy"])
    assert_alike(scores, wanted)
    # Earlier predictions count as those of the same weights, settings, subwords and corpus.
    assert (folder.predictions("test").stat().st_mtime_ns == before) is not fresh


@pytest.mark.parametrize("name", SPARSE)
def test_a_run_explains_what_it_explained(legacy: Path, name: str) -> None:
    layout, run = name.partition("_")[0], Path("runs") / name
    wanted = json.loads((run / "explain" / "action_units.json").read_text())
    truth = Path("corpora") / layout / "ground_truth.jsonl"
    assert_alike(score_attention(run, truth), wanted)

    with gzip.open(legacy / "kept_sites" / f"{name}.json.gz") as stream:
        sites = json.loads(stream.read())
    explain(run, sites["clip_id"], ground_truth=truth)
    found = json.loads((run / "explain" / sites["clip_id"] / "kept_sites.json").read_text())
    for modality in ("face", "audio"):
        for block, described in zip(found[modality], sites[modality], strict=True):
            frames = described.pop("attention")
            for attention, values in zip(block.pop("attention"), frames, strict=True):
                assert attention == pytest.approx(values, **ATTENTION)
    found.pop("padding")  # this key and the next are newer
    assert found.pop("audio_columns") > 0
    assert found == sites


def test_a_sweep_counts_what_it_counted(legacy: Path) -> None:
    run = Path("runs/iemocap_mesm")
    wanted = json.loads((run / "sweep.json").read_text())
    found = sweep(run, [0.3, 1.0], Path("runs/iemocap_fe2e"), repeats=1)
    for swept in (found, wanted):
        swept.pop("environment")
        swept.pop("latency_setting")
        for point in (*swept["points"], swept["baseline"]):
            point.pop("latency_ms_per_clip")
    assert_alike(found, wanted)


def test_tables_are_made_of_what_the_runs_hold(legacy: Path) -> None:
    # Thresholds and corpora differ, so there are several.
    results = results_tables([Path("runs")])
    assert {table.name.split("_")[1] for table in results} == {"iemocap", "mosei"}
    assert sum(len(table.rows) for table in results) == len(RUNS)
    # FE2E, p = 0.3 and p = 1 of one run; p = 0.3 and its own p of the other.
    swept = sweep_tables([Path("runs")])
    assert sum(len(table.rows) for table in swept) == 5


def test_a_training_goes_on_from_its_checkpoint(legacy: Path) -> None:
    folder = RunFolder(Path("runs/iemocap_mult"))
    config = load_config(folder.config)
    state = json.loads((folder.last / "state.json").read_text())
    assert state["finished"] is not None
    state |= {"finished": None, "epoch": 2, "best_epoch": 1, "history": state["history"][:2]}
    (folder.last / "state.json").write_text(json.dumps(state))
    train(config, folder.path)
    progress = read_progress(folder)
    assert progress is not None
    assert [row["epoch"] for row in progress.history] == [1, 2, 3]
    assert progress.finished == "all 3 epochs done"
