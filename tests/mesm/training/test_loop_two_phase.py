"""The training of the baselines: the same loop, and what they read besides the corpus."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import load_config
from mesm.corpora.prepared import PreparedCorpus
from mesm.evaluation.evaluate import evaluate_run
from mesm.features.store import FeatureStore
from mesm.report.page import write_report
from mesm.runs.checkpoints import read_progress
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256
from mesm.training.loop import train
from tests.mesm.made_up_features import FEATURE_SET, write_features
from tests.mesm.trainings import digests, snapshot, spawn

BASELINES = ["lf_lstm", "lf_transformer", "emo_embs", "mult"]
SMALL = {
    "lf_lstm": [],
    "lf_transformer": ["model.feedforward=16", "model.layers=1"],
    "emo_embs": ["model.modalities=va", "model.audio_hidden=8", "model.video_hidden=8"],
    "mult": ["model.dim=10", "model.layers=1", "model.memory_layers=1"],
}
QUICK = ["training.batch_size=4", "training.epochs=3", "model.max_words=4"]


def settings(corpus: Path, model: str, *overrides: str) -> ExperimentConfig:
    return load_config(f"iemocap_{model}", [f"corpus={corpus}", *SMALL[model], *QUICK, *overrides])


# Long enough to be killed on the way.
LONG = ("training.schedule=plateau", "training.epochs=6")


@pytest.fixture(scope="module")
def lstm_run(tiny_features, tmp_path_factory):
    run = tmp_path_factory.mktemp("lstm") / "run"
    return train(settings(tiny_features, "lf_lstm", *LONG), run)


@pytest.mark.parametrize("model", BASELINES)
def test_learns_and_resumes_bit_for_bit(model, tiny_features, tmp_path):
    """Stopped after every epoch, dropout and plateau included."""
    overrides = ("training.schedule=plateau", "training.plateau_patience=0")
    config = settings(tiny_features, model, *overrides, "training.learning_rate=0.003")
    whole = train(config, tmp_path / "whole")
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    run = tmp_path / "run"

    class StoppedError(BaseException):
        pass

    for _ in range(2):
        with pytest.MonkeyPatch.context() as patched:
            from mesm.training import loop as training

            save = training.save_last

            def save_and_stop(*arguments, save=save):
                save(*arguments)
                raise StoppedError

            patched.setattr(training, "save_last", save_and_stop)
            with pytest.raises(StoppedError):
                train(config, run)
    train(config, run)
    assert digests(run) == digests(whole)


def test_sigkill_and_the_same_command_give_the_same_weights(lstm_run, tiny_features, tmp_path):
    run = tmp_path / "run"
    process = spawn("iemocap_lf_lstm", run, f"corpus={tiny_features}", *QUICK, *LONG)
    deadline = time.monotonic() + 240
    while not (run / "last" / "state.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline, "no epoch was finished"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not read_progress(RunFolder(run)).finished
    train(settings(tiny_features, "lf_lstm", *LONG), run)
    assert digests(run) == digests(lstm_run)


def test_the_plateau_lowers_the_rate(tiny_features, tmp_path):
    # So small a rate that the loss never moves: from the third epoch on a tenth, then another.
    config = settings(
        tiny_features,
        "lf_lstm",
        "training.learning_rate=1e-20",
        "training.schedule=plateau",
        "training.plateau_patience=0",
        "training.epochs=4",
    )
    run = train(config, tmp_path / "run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [row["learning_rate"] for row in rows]
    assert rates == pytest.approx([1e-20, 1e-20, 1e-21, 1e-22], rel=1e-6)


def test_emo_embs_start_from_the_emotions_names(tiny_features, tmp_path):
    config = settings(tiny_features, "emo_embs", "training.epochs=1")
    run = train(config, tmp_path / "run")
    store = FeatureStore.open(PreparedCorpus.open(tiny_features))
    kept = load_file(run / "model.safetensors")["emotion_vectors"]
    assert torch.equal(kept, torch.from_numpy(store.emotion_vectors()))


def test_the_run_knows_its_features(lstm_run, tiny_features):
    assert json.loads((lstm_run / "features.json").read_text()) == {
        "sha256": sha256(tiny_features / "features" / "features.json"),
        "features": FEATURE_SET,
    }
    assert not (lstm_run / "tokenizer.json").exists()


def test_refuses_to_go_on_with_other_features(lstm_run, tiny_features, tmp_path):
    corpus = shutil.copytree(tiny_features, tmp_path / "corpus")
    run = shutil.copytree(lstm_run, tmp_path / "run")
    config = (run / "config.yaml").read_text().replace(str(tiny_features), str(corpus))
    (run / "config.yaml").write_text(config)
    write_features(corpus, seed=1)
    before = snapshot(run)
    with pytest.raises(ValueError, match=r"was trained on other features than .*made-up features"):
        train(settings(corpus, "lf_lstm", *LONG), run)
    assert snapshot(run) == before


def test_refuses_a_corpus_without_features(tiny_corpus, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match="has no hand-crafted features; run mesm features"):
        train(settings(tiny_corpus, "mult"), run)
    assert not run.exists()


def test_a_report_of_a_baseline(lstm_run, tmp_path):
    run = shutil.copytree(lstm_run, tmp_path / "run")
    evaluate_run(run)
    page = write_report(tmp_path / "page.html", [run]).read_text()
    assert "LF-LSTM" in page
    assert "Two-phase systems: made-up features." in page


@pytest.mark.parametrize("model", ["emo_embs", "mult"])
def test_bfloat16(model, tiny_features, tmp_path):
    config = settings(tiny_features, model, "training.mixed_precision=bf16", "training.epochs=1")
    run = train(config, tmp_path / "run")
    (row,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert 0 < row["train_loss"] < 3
