"""Trainings on corpora with exactly one emotion a clip, from the loss to the scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from scipy.special import softmax
from sklearn import metrics as oracle

from mesm.config.files import load_config
from mesm.evaluation.evaluate import evaluate_run
from mesm.evaluation.run import Run
from mesm.runs.folder import RunFolder
from mesm.training import loop as training
from mesm.training.loop import train
from tests.mesm.conftest import EMOTIONS
from tests.mesm.made_up_features import write_features
from tests.mesm.trainings import as_single_label, digests, refused, relabelled, settings

QUICK = ("model.modalities=t", "training.augment=false")


def rows_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tiny_single: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run nobody disturbed."""
    return train(settings(tiny_single), tmp_path_factory.mktemp("whole") / "run")


def test_the_loss_falls_and_the_scores_are_scikit_learns(tiny_single, tmp_path, capsys):
    config = settings(tiny_single, "training.epochs=15", model="fe2e")
    run = train(config, tmp_path / "run")
    rows = rows_of(run)
    assert rows[-1]["train_loss"] < 0.9 * rows[0]["train_loss"]
    assert {row["threshold"] for row in rows} == {"argmax"}
    assert {row["f1_variant"] for row in rows} == {"macro"}
    output = capsys.readouterr().out
    assert "evaluation.threshold and evaluation.f1 have no effect" in output
    assert "best validation macro F1" in output
    assert "(decided by: argmax)" in output
    scores = evaluate_run(run, "train")
    table = pq.read_table(run / "predictions" / "train.parquet").to_pydict()
    labels = np.array([table[f"label_{emotion}"] for emotion in EMOTIONS]).argmax(0)
    decided = np.array([table[f"logit_{emotion}"] for emotion in EMOTIONS]).argmax(0)
    assert scores["average"] == pytest.approx(
        {
            "accuracy": oracle.accuracy_score(labels, decided),
            "weighted_f1": oracle.f1_score(labels, decided, average="weighted"),
            "macro_f1": oracle.f1_score(labels, decided, average="macro"),
            "uar": oracle.balanced_accuracy_score(labels, decided),
        }
    )
    assert scores["average"]["accuracy"] > 1 / len(EMOTIONS)
    assert scores["confusion"] == oracle.confusion_matrix(labels, decided).tolist()
    logits = np.array([table[f"logit_{emotion}"] for emotion in EMOTIONS]).T
    temperature = Run.open(run).temperatures.values["softmax"]
    found = np.array([table[f"probability_{emotion}"] for emotion in EMOTIONS]).T
    np.testing.assert_allclose(found, softmax(logits / temperature, axis=1), rtol=1e-5)


def test_the_best_epoch_has_the_best_macro_f1(whole):
    """Also of the weights that were kept, which the predictions are of."""
    found = evaluate_run_copy(whole, "valid")["average"]["macro_f1"]
    assert found == pytest.approx(max(row["valid_f1"] for row in rows_of(whole)))


def evaluate_run_copy(run: Path, split: str) -> dict[str, dict[str, float]]:
    copy = run.with_name(f"copy-{split}")
    shutil.copytree(run, copy)
    return evaluate_run(copy, split)


def test_a_stopped_run_ends_with_the_same_weights(whole, tiny_single, tmp_path, monkeypatch):
    class StoppedError(BaseException):
        pass

    real, run = training._Training._note, tmp_path / "run"

    def note(self, progress, record):
        real(self, progress, record)
        if record["epoch"] == 2:
            raise StoppedError

    with monkeypatch.context() as patched:
        patched.setattr(training._Training, "_note", note)
        with pytest.raises(StoppedError):
            train(settings(tiny_single), run)
    train(settings(tiny_single), run)
    assert digests(run) == digests(whole)


def test_the_corpus_decides_where_the_setting_does_not(tiny_corpus, tiny_single, tmp_path):
    """Either loss can be asked for on either corpus, where clips have one emotion each."""
    weights = {}
    for corpus in (tiny_corpus, tiny_single):
        for loss in ("null", "binary", "cross_entropy"):
            run = tmp_path / f"{corpus.parent.name}-{loss}"
            train(settings(corpus, *QUICK, "training.epochs=1", f"training.loss={loss}"), run)
            weights[corpus, loss] = digests(run)["model.safetensors"]
    binary, softmaxed = weights[tiny_corpus, "binary"], weights[tiny_corpus, "cross_entropy"]
    assert binary != softmaxed
    assert weights[tiny_corpus, "null"] == binary == weights[tiny_single, "binary"]
    assert weights[tiny_single, "null"] == softmaxed == weights[tiny_single, "cross_entropy"]


def test_a_run_of_before_says_nothing_about_its_loss(tiny_mesm, tiny_corpus, tmp_path, capsys):
    run = shutil.copytree(tiny_mesm, tmp_path / "run")
    values = yaml.safe_load((run / "config.yaml").read_text())
    assert values["training"].pop("loss") is None
    (run / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    kept = json.loads((run / "evaluation.json").read_text())
    assert evaluate_run(run) == kept["test"]
    train(load_config(tiny_mesm / "config.yaml"), run)
    assert "finished already" in capsys.readouterr().out


def two_labels(split: str, place: int) -> list[int]:
    return [1, int((split, place) in (("valid", 2), ("valid", 4))), 0]


def no_label(split: str, place: int) -> list[int]:
    return [int((split, place) != ("train", 3)), 0, 0]


@pytest.mark.parametrize("loss", ["cross_entropy", "null"])
@pytest.mark.parametrize(
    ("label", "message"),
    [
        (two_labels, r"clip valid_002 of the valid split has 2, as have 1 more; .*loss=binary"),
        (no_label, r"clip train_003 of the train split has 0; set training\.loss=binary"),
    ],
)
def test_clips_with_none_or_several_emotions_are_refused(
    loss, label, message, tiny_corpus, tmp_path
):
    facts = {"single_label": loss == "null"}
    corpus = relabelled(tiny_corpus, tmp_path / "corpus", EMOTIONS[:3], label, **facts)
    run = tmp_path / "run"
    refused(settings(corpus, f"training.loss={loss}"), run, message)
    if loss == "cross_entropy":  # the corpus alone says nothing
        train(settings(corpus, *QUICK, "training.epochs=1"), run)


def test_two_emotions_one_of_them_not_in_the_test_split(tiny_corpus, tmp_path):
    def label(split: str, place: int) -> list[int]:
        first = split == "test" or place % 2 == 0
        return [int(first), int(not first)]

    corpus = as_single_label(relabelled(tiny_corpus, tmp_path / "corpus", EMOTIONS[:2], label))
    run = train(settings(corpus, *QUICK), tmp_path / "run")
    scores = evaluate_run(run)
    assert scores["emotions"]["excited"]["positives"] == 0
    assert scores["emotions"]["excited"]["recall"] == 0
    right = scores["confusion"][0][0] / 7
    assert scores["average"]["accuracy"] == scores["average"]["uar"] == pytest.approx(right)
    assert scores["confusion"][1] == [0, 0]
    assert np.isfinite(list(scores["average"].values())).all()


def test_an_emotion_that_training_lacks_is_still_there(tiny_corpus, tmp_path):
    def label(split: str, place: int) -> list[int]:
        chosen = place % (2 if split == "train" else 3)
        return [int(chosen == emotion) for emotion in range(3)]

    corpus = as_single_label(relabelled(tiny_corpus, tmp_path / "corpus", EMOTIONS[:3], label))
    run = train(settings(corpus, *QUICK), tmp_path / "run")
    assert all(np.isfinite(row["valid_loss"]) for row in rows_of(run))
    assert sum(map(sum, evaluate_run(run)["confusion"])) == 7


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("lf_lstm", []),
        ("emo_embs", ["model.modalities=va", "model.audio_hidden=8", "model.video_hidden=8"]),
        ("mult", ["model.dim=10", "model.layers=1", "model.memory_layers=1"]),
    ],
)
def test_baselines_learn_by_the_same_loss(model, overrides, tiny_single, tmp_path):
    corpus = shutil.copytree(tiny_single, tmp_path / "corpus")
    write_features(corpus)
    quick = ["training.batch_size=4", "training.epochs=4", "training.learning_rate=0.003"]
    changes = [f"corpus={corpus}", *overrides, *quick, "model.max_words=4"]
    run = train(load_config(f"iemocap_{model}", changes), tmp_path / "run")
    rows = rows_of(run)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[0]["train_loss"] == pytest.approx(np.log(6), abs=0.7)
    assert evaluate_run(run)["task"] == "single_label"


def test_a_teacher_must_have_the_pupils_task(tiny_mesm, single_fe2e, tiny_single, tmp_path):
    taught = (*QUICK, "training.epochs=1", "training.branch_loss=1")
    # Clips and files are the same, and the manifests' flag differs.
    message = "has another task, several emotions a clip, than the pupil, one emotion a clip"
    config = settings(tiny_single, *taught, f"training.teacher={tiny_mesm}")
    refused(config, tmp_path / "none", message)
    run = train(settings(tiny_single, *taught, f"training.teacher={single_fe2e}"), tmp_path / "run")
    assert RunFolder(run).teacher.is_file()
    assert all(torch.isfinite(torch.tensor(row["train_loss"])) for row in rows_of(run))
