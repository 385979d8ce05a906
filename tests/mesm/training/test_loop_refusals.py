"""A training refuses with these messages, and its run stays as it was."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mesm.data.clips import ClipDataset
from mesm.runs.checkpoints import read_progress
from mesm.runs.files import owned
from mesm.runs.folder import RunFolder
from mesm.training import loop as training
from mesm.training.diverged import Diverged
from mesm.training.loop import train
from mesm.training.p_schedule import PSchedule
from tests.mesm.trainings import WILD, digests, refused, settings, snapshot


@pytest.fixture(scope="module")
def whole(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run nobody disturbed."""
    return train(settings(tiny_corpus), tmp_path_factory.mktemp("whole") / "run")


def test_a_run_that_diverged_takes_other_settings(tiny_corpus, tmp_path, capsys):
    run = tmp_path / "run"
    wild = settings(tiny_corpus, *WILD)
    with pytest.raises(Diverged, match="the same folder takes other settings now"):
        train(wild, run)
    assert "the loss is" in (run / "diverged.txt").read_text()
    with pytest.raises(Diverged):  # the same again
        train(wild, run)
    tame = settings(tiny_corpus, "model.modalities=t", "model.text.vocabulary=40")
    train(tame, run)
    assert "starting anew with" in capsys.readouterr().out
    assert not (run / "diverged.txt").exists()
    fresh = train(tame, tmp_path / "fresh")
    assert digests(run) == digests(fresh)
    refused(wild, run, "this run has other settings")


def test_a_training_that_diverges_late_keeps_nothing_when_it_starts_anew(
    tiny_corpus, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    config = settings(tiny_corpus, "model.modalities=t")
    original = training._Training._epoch

    def epoch(self, number, *arguments):
        if number == 3:
            raise self._diverged(number, "the loss is nan")
        return original(self, number, *arguments)

    monkeypatch.setattr(training._Training, "_epoch", epoch)
    with pytest.raises(Diverged):
        train(config, run)
    monkeypatch.undo()
    assert read_progress(RunFolder(run)).epoch == 2
    (run / "evaluation.json").write_text("{}")
    other = settings(tiny_corpus, "model.modalities=t", "training.learning_rate=0.001")
    assert digests(train(other, run)) == digests(train(other, tmp_path / "fresh"))
    assert not (run / "evaluation.json").exists()


def test_a_clip_that_is_not_finite_is_named_and_not_the_rate(tiny_corpus, tmp_path, monkeypatch):
    def clip(self, index):
        found = original(self, index)
        if found.clip_id == "train_003":
            found = replace(found, spectrogram=found.spectrogram * np.float32("nan"))
        return found

    original = ClipDataset.clip
    monkeypatch.setattr(ClipDataset, "clip", clip)
    config = settings(tiny_corpus, "training.epochs=1", "training.augment=false")
    with pytest.raises(ValueError, match=r"chunks of clip train_003 hold values .* prepare") as got:
        train(config, tmp_path / "run")
    assert not isinstance(got.value, Diverged)


def test_weights_beyond_float32_are_not_kept(tiny_corpus, tmp_path, monkeypatch):
    def spoil(schedule):
        next(schedule._model.parameters()).data[0] = torch.inf

    monkeypatch.setattr(PSchedule, "end", spoil)
    run = tmp_path / "run"
    with pytest.raises(Diverged, match=r"epoch 1: the weights of .* are not finite; lower"):
        train(settings(tiny_corpus, "model.modalities=t"), run)
    assert not (run / "model.safetensors").exists()


def test_a_second_process_is_told_who_trains(tiny_corpus, tmp_path):
    run = tmp_path / "run"
    config = settings(tiny_corpus, "training.epochs=1", "model.modalities=t")
    with owned(run, "training in"):
        with pytest.raises(ValueError, match=r"another process is training in .*run \(process"):
            train(config, run)
        assert not list(run.iterdir())
    train(config, run)
    before = snapshot(run)
    with owned(run, "training in"), pytest.raises(ValueError, match="another process"):
        train(config, run)
    assert snapshot(run) == before


@pytest.fixture
def finished(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "finished")


def test_a_finished_run_is_looked_at(finished, tiny_corpus):
    config, best = settings(tiny_corpus), finished / "model.safetensors"
    content = best.read_bytes()
    best.write_bytes(content[:1000])
    refused(config, finished, r"finished/model\.safetensors: not a safetensors file, or damaged")
    weights = load_file(finished / "last" / "model.safetensors")
    save_file(
        {
            name: value * torch.nan if value.is_floating_point() else value
            for name, value in weights.items()
        },
        best,
    )
    refused(config, finished, r"model\.safetensors: .* not finite: .*train it anew")
    save_file({"some": torch.zeros(2)}, best)
    refused(config, finished, r"model\.safetensors: a checkpoint of another model")
    best.unlink()
    refused(config, finished, r"model\.safetensors is not there")
    best.mkdir()
    refused(config, finished, r"model\.safetensors is a folder")
    best.rmdir()
    best.write_bytes(content)
    for text in ("{}", "[]", "null", "{", '{"extra": 1}'):
        (finished / "config.json").write_text(text)
        refused(config, finished, r"config\.json: .*delete it, and the same `mesm train` makes it")
    (finished / "config.json").unlink()
    (finished / "metrics.jsonl").unlink()
    train(config, finished)
    assert (finished / "config.json").exists()
    assert (finished / "metrics.jsonl").exists()
    (finished / "tokenizer.json").write_text("{}")
    refused(config, finished, r"tokenizer\.json is not a tokenizer .*train it anew")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", -1),
        ("epoch", "3"),
        ("epoch", True),
        ("epoch", None),
        ("history", None),
        ("history", [{}] * 4),
        ("best_epoch", 9),
        ("best_epoch", 0),
        ("finished", 3),
        ("scaler", 3),
        ("corpus", None),
    ],
)
def test_a_state_that_no_training_wrote(finished, tiny_corpus, name, value):
    file = finished / "last" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    refused(settings(tiny_corpus), finished, r"state\.json: cannot be read \(.* to start anew")


def test_adam_that_is_not_whole(finished, tiny_corpus):
    state, file = finished / "last" / "state.json", finished / "last" / "optimizer.safetensors"
    values = json.loads(state.read_text())
    values |= {"epoch": 2, "history": values["history"][:2], "best_epoch": 1, "finished": None}
    state.write_text(json.dumps(values))
    config, whole = settings(tiny_corpus), load_file(file)
    name = next(key for key in whole if key.startswith("exp_avg/"))
    save_file({key: value for key, value in whole.items() if key != name}, file)
    refused(config, finished, f"not whole: {name} is missing; delete .*last to start anew")
    save_file(whole | {name: whole[name] * torch.nan}, file)
    refused(config, finished, f"{name} holds values that are not finite; delete .*last to start")
    save_file({}, file)
    refused(config, finished, r"optimizer\.safetensors: is empty")
    file.write_bytes(b"nonsense")
    refused(config, finished, r"optimizer\.safetensors: not a safetensors .*last to start anew")
    (finished / "last" / "model.safetensors").write_bytes(b"nonsense")
    refused(config, finished, r"last/model\.safetensors: not a safetensors .*last to start anew")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hidden=1000000000", r"weights want [\d,]+ GiB, the memory is [\d,]+ GiB; make the"),
        ("model.hidden=2147483647", "weights want|no memory holds"),
        ("model.channels=[2000000000,2000000000,8,8]", "weights want|no memory holds"),
        ("model.text.max_length=2000000000", "weights want"),
    ],
)
def test_memory_that_is_not_there(tiny_corpus, tmp_path, override, message):
    with pytest.raises(ValueError, match=message):
        train(settings(tiny_corpus, override), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_message_stands_below_the_bar(tiny_corpus, tmp_path, monkeypatch, capsys):
    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Training, "_note", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(settings(tiny_corpus, "model.modalities=t"), tmp_path / "run")
    assert capsys.readouterr().err.endswith("\n")


def test_a_worker_process_refuses_in_one_line(tiny_corpus, tmp_path, monkeypatch):
    def clip(self, index):
        raise ValueError("this clip is damaged")

    config = settings(tiny_corpus, "training.workers=1", "model.modalities=v", model="fe2e")
    original = ClipDataset.labels
    monkeypatch.setattr(ClipDataset, "labels", lambda self: (original(self), spoil())[0])

    def spoil():
        monkeypatch.setattr(ClipDataset, "clip", clip)

    with pytest.raises(ValueError, match=r"^this clip is damaged$"):
        train(config, tmp_path / "run")


def test_a_corpus_that_is_not_there_says_where_it_was_looked_for(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path}/gone has no manifest.json \(gone was"):
        train(settings(Path("gone")), tmp_path / "run")
    refused(settings(Path("gone")), whole, "its corpus is not there: .*if it was moved, name it")
