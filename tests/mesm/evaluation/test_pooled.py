"""The folds of a training scored together."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mesm.evaluation.bootstrap import Bootstrap
from mesm.evaluation.calibration import Reliability
from mesm.evaluation.metrics import Confusion
from mesm.evaluation.pooled import fold_sets, format_pooled, missing_folds, pool, without_index
from mesm.evaluation.predictions import Predictions
from mesm.evaluation.run import Run
from tests.mesm.corpus_of_speakers import EMOTIONS, write_corpus
from tests.mesm.folded_runs import write_run
from tests.mesm.trainings import as_single_label

THREE = ("fold.by=speaker", "fold.k=3", "evaluation.threshold=tuned")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("pooled") / "corpus")


@pytest.fixture(scope="module")
def folds(corpus, tmp_path_factory) -> list[Path]:
    out = tmp_path_factory.mktemp("folds")
    return [write_run(out / f"{i}", corpus, *THREE, f"fold.index={i}") for i in (1, 2, 3)]


def test_pooled_scores_are_those_of_one_concatenation(folds):
    found = pool([Run(path) for path in folds], Bootstrap(draws=50, cluster="dialog"))
    decisions, labels = [], []
    for path in folds:
        own = Predictions.read(path / "predictions/test.parquet")
        values = json.loads((path / "evaluation.json").read_text())["test"]["threshold"]["values"]
        bounds = torch.tensor([values[name] for name in EMOTIONS], dtype=torch.float64)
        decisions.append(own.logits.double().sigmoid() > bounds)
        labels.append(own.labels.bool())
    one, truth = torch.cat(decisions), torch.cat(labels)
    assert len(truth) == 60
    for name, values in Confusion.of(one, truth).metrics().items():
        ours = [found["pooled"]["emotions"][emotion][name] for emotion in EMOTIONS]
        assert ours == values.tolist()
        assert found["pooled"]["average"][name] == pytest.approx(float(values.mean()))
    # Thresholds of one fold would decide otherwise for the others.
    assert {fold["threshold"]["values"]["sad"] for fold in found["per_fold"]} != {0.5}
    assert sum(fold["clips"] for fold in found["per_fold"]) == found["pooled"]["clips"] == 60
    tested = [unit for fold in found["per_fold"] for unit in fold["test"]]
    assert len(tested) == len(set(tested)) == 10
    low, high = found["pooled"]["intervals"]["average"]["f1"]
    assert low <= found["pooled"]["average"]["f1"] <= high
    json.dumps(found, allow_nan=False)
    text = format_pooled(found)
    assert "3 folds by speaker; threshold: tuned on validation F1, each fold its own" in text
    assert f"{100 * found['pooled']['average']['f1']:.1f}" in text


def test_pooled_calibration_is_that_of_each_folds_own_temperatures(folds):
    runs = [Run(path) for path in folds]
    found = pool(runs, Bootstrap(draws=1))["pooled"]["calibration"]
    logits, calibrated, labels = [], [], []
    for path in folds:
        own = Predictions.read(path / "predictions/test.parquet")
        values = json.loads((path / "temperatures.json").read_text())["temperatures"]
        divided = own.logits.double() / torch.tensor([values[name] for name in EMOTIONS]).double()
        logits.append(own.logits.double().sigmoid())
        calibrated.append(divided.sigmoid())
        labels.append(own.labels)
    before, after = (
        Reliability.of(torch.cat(values), torch.cat(labels)) for values in (logits, calibrated)
    )
    for place, emotion in enumerate(EMOTIONS):
        values = found["emotions"][emotion]
        assert values["ece"] == float(before.error()[place])
        assert values["ece_calibrated"] == float(after.error()[place])
        assert values["reliability_calibrated"] == after.filled(place)
        assert "temperature" not in values
    assert found["fitted"]["folds"] == 3
    assert found["fitted"]["clips"] == sum(len(run.corpus.split("valid")) for run in runs)
    # A fold that was scored before there was a calibration leaves it out.
    scores = {name: value for name, value in runs[0].scores.items() if name != "calibration"}
    runs[0].evaluation = {"test": scores}
    assert "calibration" not in pool(runs, Bootstrap(draws=1))["pooled"]


def test_sets_are_those_that_differ_in_the_fold_alone(folds, corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "corpus")
    other = write_run(tmp_path / "other", corpus, *THREE, "fold.index=1", "training.seed=1")
    moved = write_run(
        *(tmp_path / "moved", tmp_path / "corpus"),
        *(*THREE, "fold.index=2", "training.seed=1", "training.workers=2"),
    )
    runs = [Run(path) for path in (moved, *folds[::-1], other)]
    sets = fold_sets(runs)
    assert [[run.path for run in own] for own in sets] == [[other, moved], folds]
    assert missing_folds(sets[0]) == [3]
    assert missing_folds(sets[1]) == []
    with pytest.raises(ValueError, match="one run for each of the folds 1 to 3, got 1, 2"):
        pool(sets[0])


def test_a_fold_that_is_there_twice_is_refused(folds):
    with pytest.raises(ValueError, match="got 1, 2, 2, 3"):
        pool([Run(folds[place]) for place in (0, 1, 1, 2)])


def test_folds_of_corpora_that_were_prepared_differently_are_refused(folds, tmp_path):
    again = write_corpus(tmp_path / "again", seed=4)
    other = write_run(tmp_path / "other", again, *THREE, "fold.index=2")
    with pytest.raises(ValueError, match="on corpora that were prepared differently"):
        pool([Run(folds[0]), Run(other), Run(folds[2])])


@pytest.mark.parametrize("what", ["weights", "predictions"])
def test_scores_of_other_weights_are_refused(folds, tmp_path, what):
    copies = [Path(shutil.copytree(path, tmp_path / path.name)) for path in folds]
    if what == "weights":
        (copies[1] / "model.safetensors").write_bytes(b"others")
    else:
        (copies[1] / "predictions/test.parquet").unlink()
    with pytest.raises(ValueError, match="2: its scores or predictions are not of its weights"):
        pool([Run(path) for path in copies])


def test_teachers_of_the_folds_are_the_same_setting():
    def settings(fold: int, teacher: str) -> dict:
        training = {"seed": 0, "teacher": teacher}
        return {"fold": {"by": "session", "index": fold}, "training": training}

    one = without_index(settings(1, "out/runs/fe2e--fold-1--seed-0"))
    assert one == without_index(settings(2, "out/runs/fe2e--fold-2--seed-0"))
    assert one != without_index(settings(2, "out/runs/mesm--fold-2--seed-0"))


def test_one_emotion_a_clip_is_pooled_by_what_is_most_probable(corpus, tmp_path):
    single = as_single_label(Path(shutil.copytree(corpus, tmp_path / "corpus")))
    options = ("fold.by=speaker", "fold.k=2")
    folds = [write_run(tmp_path / f"{i}", single, *options, f"fold.index={i}") for i in (1, 2)]
    found = pool([Run(path) for path in folds], Bootstrap(draws=20, cluster="dialog"))
    own = [Predictions.read(path / "predictions/test.parquet") for path in folds]
    logits = torch.cat([one.logits for one in own])
    labels = torch.cat([one.labels for one in own])
    right = (logits.argmax(1) == labels.argmax(1)).double().mean()
    assert found["pooled"]["average"]["accuracy"] == pytest.approx(float(right))
    top = found["pooled"]["calibration"]["top"]
    assert 0 < top["ece_calibrated"] < 1
    assert "temperature" not in top
    per_fold = [
        float((one.logits.argmax(1) == one.labels.argmax(1)).double().mean()) for one in own
    ]
    assert found["over_folds"]["average"]["accuracy"]["mean"] == pytest.approx(sum(per_fold) / 2)
    text = format_pooled(found)
    assert "2 folds by speaker; the most probable emotion is decided for" in text
    for name in ("Acc", "UAR", "WF1", "MF1"):
        assert f"\n{name} " in text
