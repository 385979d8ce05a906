"""A training that was stopped goes on after its folder or its corpus was moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mesm.config.files import load_config
from mesm.evaluation.run import Run
from mesm.training import loop
from mesm.training.loop import train
from tests.mesm.trainings import digests, refused, settings

CHANGES = ("model.modalities=t", "training.epochs=3")


def stopped(config: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training that ended in its second epoch."""
    original = loop._Training._epoch

    def epoch(self: Any, number: int, *arguments: Any) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return original(self, number, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "_epoch", epoch)
        with pytest.raises(KeyboardInterrupt):
            train(config, run)
    return run


def test_it_goes_on_to_the_same_weights(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    corpus = shutil.copytree(tiny_corpus, project / "corpus")
    config = settings(corpus, *CHANGES, model="fe2e")
    whole = digests(train(config, tmp_path / "whole"))
    run = stopped(config, project / "runs/a", monkeypatch)
    other = shutil.copytree(run, project / "runs/b")
    renamed = project.rename(tmp_path / "renamed")
    run, other = renamed / "runs/a", renamed / "runs/b"
    # With the settings that it keeps, which name a place that is no more.
    train(load_config(run / "config.yaml"), run)
    assert digests(run) == whole
    kept = json.loads((run / "corpus.json").read_text())
    assert (kept["relative"], kept["absolute"]) == (
        ["../../corpus"],
        str(renamed / "corpus"),
    )
    # With the same settings but for the place.
    moved = (renamed / "corpus").rename(tmp_path / "moved")
    train(settings(moved, *CHANGES, model="fe2e"), other)
    assert {**digests(other), "config.yaml": ""} == {**whole, "config.yaml": ""}
    assert Run(other).corpus.path == moved


def test_another_corpus_is_refused_and_the_run_stays(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = shutil.copytree(tiny_corpus, tmp_path / "corpus")
    config = settings(corpus, *CHANGES, model="fe2e")
    run = stopped(config, tmp_path / "run", monkeypatch)
    # As many clips of the same emotions, prepared otherwise.
    manifest = json.loads((corpus / "manifest.json").read_text())
    (corpus / "manifest.json").write_text(json.dumps(manifest | {"spectrogram_mean": 0.0}))
    refused(config, run, "was trained on another corpus than .*/corpus is now")
    elsewhere = settings(tiny_corpus, *CHANGES, model="fe2e")
    train(elsewhere, run)
    assert Run(run).corpus.path == tiny_corpus
