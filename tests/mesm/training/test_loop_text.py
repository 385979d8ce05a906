"""Trainings with pretrained encoders of texts: what is learnt, kept and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mesm.analysis.verify import verify
from mesm.evaluation.run import Run
from mesm.training import loop
from mesm.training.loop import train
from tests.mesm.tiny_text import KINDS, write_text_model
from tests.mesm.trainings import digests, refused, settings

SHORT = ("training.epochs=1", "training.learning_rate=0.01")


def moved(run: Path, text: Path) -> dict[str, bool]:
    """Per weight of the text encoder, whether it is another than in the model's folder."""
    kept = load_file(run / "model.safetensors")
    kept = {k.split(".", 2)[2]: v for k, v in kept.items() if k.startswith("text.")}
    pretrained = load_file(text / "model.safetensors")
    found = {k: not torch.equal(kept[k], pretrained[k]) for k in kept}
    assert all(name.startswith("pooler.") for name in set(pretrained) - set(found))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_whole_without_the_models_folder(
    kind: str, tiny_corpus: Path, tmp_path: Path
) -> None:
    text = write_text_model(tmp_path / kind, kind)
    changes = (*SHORT, f"model.text.path={text}", "model.modalities=t")
    run = train(settings(tiny_corpus, *changes, model="fe2e"), tmp_path / "run")
    assert sum(moved(run, text).values()) > 10
    arguments = json.loads((run / "config.json").read_text())
    assert arguments["albert" if kind == "albert" else "encoder"]["model_type"] == kind
    assert verify(run) == []
    logits, _ = Run.open(run).predict("test")
    shutil.rmtree(text)
    there = Path(run.rename(tmp_path / "elsewhere"))
    again, _ = Run.open(there, fresh=True).predict("test")
    assert torch.equal(logits, again)
    assert verify(there) == []


def test_a_frozen_encoder_stays_as_it_is(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write_text_model(tmp_path / "bert", "bert")
    shared = (f"model.text.path={text}", "model.text.max_length=60", "training.epochs=2")
    config = settings(tiny_corpus, *shared, "model.text.freeze=true")
    run = train(config, tmp_path / "run")
    assert not any(moved(run, text).values())
    state = load_file(run / "last" / "optimizer.safetensors")
    assert any("/face." in name for name in state)
    assert not any("/text." in name for name in state)
    assert verify(run) == []
    refused(settings(tiny_corpus, *shared), run, r"model\.text\.freeze \(True")

    again = tmp_path / "again"
    epoch = loop._Training._epoch

    def stop(self: Any, number: int, *arguments: Any) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, number, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop._Training, "_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, again)
    assert digests(train(config, again)) == digests(run)


def test_a_run_of_before_reads_the_models_tokenizer(tiny_corpus: Path, tmp_path: Path) -> None:
    """No tokenizer was kept, and more was kept of the model's settings."""
    text = write_text_model(tmp_path / "albert", "albert")
    changes = (*SHORT, f"model.text.path={text}", "model.modalities=t")
    config = settings(tiny_corpus, *changes, model="fe2e")
    run = train(config, tmp_path / "run")
    logits, _ = Run.open(run).predict("test")
    file = run / "config.json"
    arguments = json.loads(file.read_text())
    arguments["albert"] |= {"transformers_version": "5.0.0", "architectures": ["AlbertModel"]}
    file.write_text(json.dumps(arguments))
    (run / "tokenizer.json").unlink()
    assert verify(run) == []
    again, _ = Run.open(run, fresh=True).predict("test")
    assert torch.equal(logits, again)


def test_goes_on_with_the_model_that_it_began_with_alone(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write_text_model(tmp_path / "bert", "bert")
    changes = (f"model.text.path={text}", "model.modalities=t", "training.epochs=2")
    config = settings(tiny_corpus, *changes, model="fe2e")
    run = tmp_path / "run"

    def stop(*arguments: Any, **keywords: Any) -> None:
        save(*arguments, **keywords)
        raise InterruptedError

    save = loop.save_last
    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_last", stop)
        with pytest.raises(InterruptedError):
            train(config, run)
    before = {file: file.read_bytes() for file in run.glob("*.*")}
    file = text / "config.json"
    kept = file.read_text()
    file.write_text(json.dumps(json.loads(kept) | {"hidden_act": "relu"}))
    wanted = r"began with another encoder\.hidden_act than .*config\.json has now; put that back"
    with pytest.raises(ValueError, match=wanted):
        train(config, run)
    assert before == {file: file.read_bytes() for file in run.glob("*.*")}
    file.write_text(kept)
    train(config, run)


def test_refused_models_leave_no_run(tiny_corpus: Path, tmp_path: Path) -> None:
    text = write_text_model(tmp_path / "bert", "bert")
    changes = (*SHORT, f"model.text.path={text}")
    config = settings(tiny_corpus, *changes, model="fe2e")
    run = tmp_path / "run"
    (text / "modeling.py").write_text("raise SystemExit")
    with pytest.raises(ValueError, match=r"modeling\.py: code in a model's folder"):
        train(config, run)
    (text / "modeling.py").unlink()
    (text / "model.safetensors").rename(text / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: a pickle"):
        train(config, run)
    (text / "pytorch_model.bin").rename(text / "model.safetensors")
    short = settings(tiny_corpus, *changes, "model.text.max_length=2", model="fe2e")
    tokenizer = json.loads((text / "tokenizer.json").read_text())
    whole = json.dumps(tokenizer)
    single = tokenizer["post_processor"]["single"]
    tokenizer["post_processor"]["single"] = [single[0], *single]
    (text / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match=r"model\.text\.max_length is too small for .*bert: "):
        train(short, run)
    (text / "tokenizer.json").write_text(whole)
    assert not run.exists()
