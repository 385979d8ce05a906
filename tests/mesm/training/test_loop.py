import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AlbertConfig, AlbertModel

from mesm.models import MESM
from mesm.runs.checkpoints import read_progress
from mesm.runs.folder import RunFolder
from mesm.training import loop as training
from mesm.training.loop import train
from tests.mesm.trainings import SMALL, WILD, digests, refused, settings, snapshot, spawn


@pytest.fixture(scope="module")
def whole(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run nobody disturbed."""
    return train(settings(tiny_corpus), tmp_path_factory.mktemp("whole") / "run")


def start(run: Path, corpus: Path, *overrides: str, **options: Any) -> subprocess.Popen[bytes]:
    return spawn("iemocap_mesm", run, f"corpus={corpus}", *SMALL, *overrides, **options)


def test_sigkill_and_the_same_command_give_the_same_weights(whole, tiny_corpus, tmp_path):
    run = tmp_path / "run"
    process = start(run, tiny_corpus)
    deadline = time.monotonic() + 240
    # In the middle of the second epoch, or wherever it then is.
    while not (run / "last" / "state.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline, "no epoch was finished"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not read_progress(RunFolder(run)).finished
    train(settings(tiny_corpus), run)
    assert digests(run) == digests(whole)
    assert sorted(entry.name for entry in run.iterdir()) == sorted(
        entry.name for entry in whole.iterdir()
    )


def test_workers_change_nothing(whole, tiny_corpus, tmp_path):
    run = train(settings(tiny_corpus, "training.workers=2"), tmp_path / "run")
    found, wanted = digests(run), digests(whole)
    assert found.pop("config.yaml") != wanted.pop("config.yaml")
    assert found == wanted


class StoppedError(BaseException):
    pass


@pytest.mark.parametrize("where", ["_write_first_files", "save_best", "write_beside", "save_last"])
def test_a_stop_before_any_file_is_made_good(where, whole, tiny_corpus, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def stop(*arguments, **keywords):
        raise StoppedError

    with monkeypatch.context() as patched:
        owner = training._Training if where.startswith("_write") else training
        patched.setattr(owner, where, stop)
        with pytest.raises(StoppedError):
            train(settings(tiny_corpus), run)
    train(settings(tiny_corpus), run)
    assert digests(run) == digests(whole)


def test_logs_one_line_and_one_point_per_epoch(whole):
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert {row["threshold"] for row in rows} == {"tuned on validation F1"}
    assert {row["f1_variant"] for row in rows} == {"binary"}
    assert all(row["gradient_norm"] > 0 for row in rows)
    # Twelve clips, in less than the epoch took.
    assert all(row["clips_per_second"] > 12 / row["seconds"] for row in rows)
    events = EventAccumulator(str(whole / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("valid_f1")] == pytest.approx(
        [row["valid_f1"] for row in rows]
    )
    assert set(load_file(whole / "model.safetensors")) == set(
        load_file(whole / "last" / "model.safetensors")
    )


def test_a_finished_run_says_so(whole, tiny_corpus, capsys):
    before = snapshot(whole)
    assert train(settings(tiny_corpus), whole) == whole
    assert "finished already (all 4 epochs done)" in capsys.readouterr().out
    assert snapshot(whole) == before


def test_learns_the_tiny_corpus(tiny_corpus, tmp_path):
    run = train(settings(tiny_corpus, "training.epochs=15", model="fe2e"), tmp_path / "run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_loss"] < 0.9 * rows[0]["train_loss"]


def test_stops_early_and_keeps_the_best(tiny_corpus, tmp_path):
    # So small a rate that nothing ever changes.
    config = settings(
        tiny_corpus, "training.learning_rate=1e-30", "training.patience=2", "training.epochs=9"
    )
    run = train(config, tmp_path / "run")
    progress = read_progress(RunFolder(run))
    assert progress.finished == "no better validation F1 for 2 epochs"
    assert progress.epoch == progress.best_epoch + 2


def test_can_keep_the_last_weights(tiny_corpus, tmp_path):
    config = settings(tiny_corpus, "training.keep=last", "model.modalities=t", "training.epochs=3")
    run = train(config, tmp_path / "run")
    kept, last = load_file(run / "model.safetensors"), load_file(run / "last/model.safetensors")
    assert all(torch.equal(kept[name], last[name]) for name in last)


def test_p_comes_down_to_that_of_the_settings(tiny_corpus, tmp_path, monkeypatch):
    seen = []
    original = MESM.set_p

    def set_p(self, p):
        seen.append(round(p, 4))
        original(self, p)

    monkeypatch.setattr(MESM, "set_p", set_p)
    config = settings(tiny_corpus, "model.p=0.4", "training.p_warmup_epochs=2", "training.epochs=3")
    train(config, tmp_path / "run")
    # In training from 1 to p; in validation always p.
    assert seen == [1.0, 0.4, 0.7, 0.4, 0.4, 0.4]


def test_p_per_block_can_rise(tiny_corpus, tmp_path, monkeypatch):
    seen = []
    original = MESM.set_p

    def set_p(self, p):
        seen.append([round(number, 4) for number in p])
        original(self, p)

    monkeypatch.setattr(MESM, "set_p", set_p)
    config = settings(
        tiny_corpus,
        "model.p=[0.9,0.5,0.1]",
        "training.p_start=0.5",
        "training.p_shape=cosine",
        "training.p_warmup_epochs=2",
        "training.epochs=3",
    )
    run = train(config, tmp_path / "run")
    final = [0.9, 0.5, 0.1]
    assert seen == [[0.5, 0.5, 0.5], final, [0.7, 0.5, 0.3], final, final, final]
    assert json.loads((run / "config.json").read_text())["p"] == final


def test_refuses_a_run_with_other_settings(whole, tiny_corpus):
    message = r"other settings: model\.p \(0\.7, now 0\.3\), training\.epochs \(4, now 5\)"
    refused(settings(tiny_corpus, "model.p=0.3", "training.epochs=5"), whole, message)


def test_refuses_a_folder_that_is_no_run(tiny_corpus, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    refused(settings(tiny_corpus), tmp_path, "holds files but is no run")


def test_refuses_a_corpus_that_is_none(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match="is not a prepared corpus"):
        train(settings(tmp_path), run)
    assert not run.exists()


def test_says_that_weights_without_a_checkpoint_are_trained_over(tiny_corpus, tmp_path, capsys):
    config = settings(tiny_corpus, "training.epochs=1", "model.modalities=t")
    run = train(config, tmp_path / "run")
    assert "training anew" not in capsys.readouterr().out
    weights = (run / "model.safetensors").read_bytes()
    shutil.rmtree(run / "last")
    train(config, run)
    said = f"{run}: has weights and no checkpoint; training anew over them"
    assert said in capsys.readouterr().out
    assert (run / "model.safetensors").read_bytes() == weights


def test_refuses_another_models_checkpoint(tiny_corpus, tmp_path):
    config = settings(tiny_corpus, "training.epochs=2", "model.modalities=t")
    run = tmp_path / "run"

    def stop(*arguments, **keywords):
        raise StoppedError

    original, training.save_last = training.save_last, stop
    try:
        with pytest.raises(StoppedError):
            train(config, run)
    finally:
        training.save_last = original
    save_file({"classify_text.weight": torch.zeros(2, 2)}, run / "model.safetensors")
    refused(config, run, "another model .*word_embeddings.weight is missing")


def test_refuses_another_models_last_checkpoint(tiny_corpus, tmp_path):
    config = settings(tiny_corpus, "training.epochs=2", "model.modalities=t")
    run = train(config, tmp_path / "run")
    state = json.loads((run / "last" / "state.json").read_text())
    state |= {"finished": None, "epoch": 1, "best_epoch": 1, "history": state["history"][:1]}
    (run / "last" / "state.json").write_text(json.dumps(state))
    weights = load_file(run / "last" / "model.safetensors")
    weights["classify_text.weight"] = torch.zeros(6, 5)
    save_file(weights, run / "last" / "model.safetensors")
    refused(config, run, r"classify_text\.weight must be \(6, 12\), is \(6, 5\)")


def test_refuses_to_go_on_with_another_corpus(tiny_corpus, tmp_path):
    config = settings(tiny_corpus, "training.epochs=1", "model.modalities=t")
    run = train(config, tmp_path / "run")
    state = json.loads((run / "last" / "state.json").read_text())
    state["corpus"]["clips"]["train"] = 99
    (run / "last" / "state.json").write_text(json.dumps(state))
    refused(config, run, "was trained on another corpus")


def test_a_loss_that_is_not_finite_stops_the_training(tiny_corpus, tmp_path):
    config = settings(tiny_corpus, *WILD)
    with pytest.raises(FloatingPointError, match=r"the loss is .*lower training\.learning_rate"):
        train(config, tmp_path / "run")


def test_bfloat16(tiny_corpus, tmp_path):
    config = settings(tiny_corpus, "training.mixed_precision=bf16", "training.epochs=1")
    run = train(config, tmp_path / "run")
    weights = load_file(run / "model.safetensors")
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {
        torch.float32
    }
    (row,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert 0 < row["train_loss"] < 3


def test_starts_from_pretrained_weights(tiny_corpus, tmp_path):
    """From a local ALBERT with its tokenizer and from VGG-11; the rate leaves them as they were."""
    text = tmp_path / "albert"
    first = train(
        settings(tiny_corpus, "training.epochs=1", "model.modalities=t"), tmp_path / "first"
    )
    arguments = json.loads((first / "config.json").read_text())["albert"]
    torch.manual_seed(3)
    albert = AlbertModel(AlbertConfig(**arguments), add_pooling_layer=False)
    albert.save_pretrained(text)
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]"}
    tokenizer |= {"sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (text / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (text / "tokenizer.json").write_bytes((first / "tokenizer.json").read_bytes())
    vgg = tmp_path / "vgg.safetensors"
    save_file({"features.0.weight": torch.full((6, 4, 3, 3), 0.5)}, vgg)
    config = settings(
        tiny_corpus,
        f"model.text.path={text}",
        f"model.vgg11={vgg}",
        "training.learning_rate=1e-30",
        "training.epochs=1",
    )
    weights = load_file(train(config, tmp_path / "second") / "model.safetensors")
    assert (weights["face.extractor.blocks.0.conv1.weight"] == 0.5).all()
    for name, value in albert.state_dict().items():
        torch.testing.assert_close(weights[f"text.albert.{name}"], value, rtol=0, atol=1e-9)
