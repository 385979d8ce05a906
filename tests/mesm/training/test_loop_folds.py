"""Trainings on a fold: what they keep, go on with, and refuse."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from mesm.analysis.sweep import load_baseline
from mesm.analysis.verify import verify
from mesm.config.files import dump_config
from mesm.corpora.folds import FoldedCorpus
from mesm.corpora.prepared import PreparedCorpus
from mesm.evaluation.against import compare_runs
from mesm.evaluation.evaluate import evaluate_run
from mesm.evaluation.run import Run
from mesm.runs.checkpoints import read_progress
from mesm.runs.folder import RunFolder
from mesm.training.loop import train
from tests.mesm.corpus_of_speakers import write_corpus
from tests.mesm.made_up_features import write_features
from tests.mesm.trainings import SMALL, digests, refused, settings, spawn

FOLD = ("fold.by=session", "fold.index=2", "training.epochs=2", "model.modalities=tv")
LSTM = ("fold.by=session", "fold.index=2", "training.epochs=1")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = write_corpus(tmp_path_factory.mktemp("folds") / "corpus")
    write_features(folder)
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "fold"
    return train(settings(corpus, *FOLD, model="fe2e"), run)


def test_a_run_reads_and_keeps_its_fold(corpus, trained):
    kept = json.loads((trained / "fold.json").read_text())
    run = Run.open(trained)
    fold = FoldedCorpus(PreparedCorpus.open(corpus), run.fold)
    assert kept == json.loads(json.dumps(fold.describe() | {"statistics": kept["statistics"]}))
    assert kept["units"]["test"] == ["Ses02"]
    assert kept["statistics"]["spectrogram"] == [[value] for value in fold.sound_figures]
    assert read_progress(run.folder).corpus["clips"] == kept["clips"]
    scores = evaluate_run(trained, "test")
    assert scores["clips"] == kept["clips"]["test"] == 12
    assert all(clip.startswith("Ses02") for clip in run.predictions("test").clip_ids)
    dataset = run.dataset("test")
    assert (dataset.mean, dataset.std) == fold.sound_figures
    single = run.feed.single(run.predictions("test").clip_ids[0])
    assert (single.mean, single.std) == fold.sound_figures
    assert verify(trained) == []


def test_a_changed_corpus_is_refused(corpus, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    moved = tmp_path / "moved"
    shutil.copytree(corpus, moved)
    config = yaml.safe_load((run / "config.yaml").read_text())

    def name(folder: Path) -> None:
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"corpus": str(folder)}))

    name(moved)
    evaluate_run(run, "test")
    # The same clips in other files: its own split is another.
    name(write_corpus(tmp_path / "again", seed=3))
    with pytest.raises(ValueError, match=r"was trained on another corpus than .*again is now"):
        evaluate_run(run, "test")
    (run / "corpus.json").unlink()  # as an earlier run, whose fold.json tells as well
    with pytest.raises(ValueError, match="the same clips, prepared otherwise; prepare that one"):
        evaluate_run(run, "test")
    assert any("the same clips, prepared otherwise" in finding for finding in verify(run))
    more = write_corpus(tmp_path / "more", clips=7)
    name(more)
    with pytest.raises(ValueError, match="which has other clips in its splits"):
        evaluate_run(run, "test")
    refused(settings(more, *FOLD, model="fe2e"), run, "other clips in its splits")
    name(corpus)
    (run / "fold.json").unlink()
    with pytest.raises(ValueError, match=r"this run has no fold\.json, which says"):
        evaluate_run(run, "test")


def test_another_fold_is_another_run(corpus, trained):
    other = settings(corpus, *FOLD, "fold.index=3", model="fe2e")
    refused(other, trained, r"other settings: fold\.index \(2, now 3\)")
    whole = settings(corpus, *FOLD[2:], model="fe2e")
    refused(whole, trained, r"other settings: fold\.by \(session, now None\)")


def test_comparison_wants_the_same_fold(corpus, trained, tmp_path):
    same = compare_runs(trained, trained)
    assert same["clips"] == 12
    other = train(settings(corpus, *FOLD, "fold.index=3", model="fe2e"), tmp_path / "other")
    with pytest.raises(ValueError, match="both must be trained with the same splits"):
        compare_runs(trained, other)
    with pytest.raises(ValueError, match="are tested on other folds; name an FE2E run of the same"):
        load_baseline(trained, Run(other))


def test_a_killed_training_goes_on_to_the_same_weights(corpus, trained, tmp_path):
    run = tmp_path / "killed"
    overrides = (f"corpus={corpus}", *SMALL, *FOLD)
    process = spawn("iemocap_fe2e", run, *overrides)
    deadline = time.monotonic() + 120
    while not (run / "last" / "state.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_progress(RunFolder(run)).epoch >= 1
    train(settings(corpus, *FOLD, model="fe2e"), run)
    assert digests(run) == digests(trained)
    assert (run / "fold.json").read_bytes() == (trained / "fold.json").read_bytes()


def test_features_are_normalised_by_the_training_clips_alone(corpus, tmp_path):
    import numpy as np

    run = train(lstm(corpus), tmp_path / "lstm")
    opened = Run.open(run)
    clips = opened.corpus.split("train").clip_ids
    raw = {}
    for name in ("audio", "video"):
        rows = [_raw(opened.feed.store, name, clip) for clip in clips]
        raw[name] = np.concatenate(rows).astype(np.float64)
    figures = opened.feed.store.figures
    for name, values in raw.items():
        np.testing.assert_allclose(figures[name][0], values.mean(0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(figures[name][1], values.std(0), rtol=1e-9)
    kept = json.loads((run / "fold.json").read_text())["statistics"]
    assert kept == json.loads(json.dumps(figures))
    read = np.concatenate([opened.feed.store.clip(clip).audio for clip in clips])
    np.testing.assert_allclose(read.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(read.std(0), 1, atol=1e-4)
    assert evaluate_run(run, "test")["clips"] == 12
    assert verify(run) == []


def lstm(corpus: Path):
    from mesm.config.files import load_config

    return load_config("iemocap_lf_lstm", [f"corpus={corpus}", *LSTM])


def _raw(store, name, clip):
    row = store._tables[name].row(clip)
    return row["values"].values.to_numpy().reshape(row["rows"].as_py(), -1)


def test_a_teacher_of_another_fold_is_refused(corpus, trained, tmp_path):
    pupil = (*FOLD, f"training.teacher={trained}")
    config = settings(corpus, *pupil, "fold.index=1", model="fe2e")
    refused(config, tmp_path / "one", "trained on fold 2 by session, and the pupil on fold 1 by")
    config = settings(corpus, *pupil[2:], model="fe2e")
    refused(config, tmp_path / "whole", "and the pupil on the corpus' own splits")
    train(settings(corpus, *pupil, "training.epochs=1", model="fe2e"), tmp_path / "same")


def test_bad_folds_are_refused_before_anything_is_written(corpus, tmp_path):
    for overrides, message in (
        (("fold.index=9",), r"fold\.index must be 1 to 5"),
        (("fold.k=6",), "wanted at least 6 for 6 folds"),
        (("fold.by=dialog", "fold.k=30"), "wanted at least 30"),
    ):
        config = settings(corpus, *FOLD, *overrides, model="fe2e")
        refused(config, tmp_path / "bad", message)


def test_settings_without_a_fold_are_written_as_before(corpus):
    config = settings(corpus, model="fe2e")
    assert "fold" not in yaml.safe_load(dump_config(config))
    assert "fold" not in config.model_dump()
    assert yaml.safe_load(dump_config(settings(corpus, *FOLD)))["fold"] == {
        "by": "session",
        "k": None,
        "seed": 0,
        "valid": 0.125,
        "index": 2,
    }
