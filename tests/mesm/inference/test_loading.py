"""Runs and published models, as predictions need them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mesm import Pipeline
from mesm.config.files import load_config
from mesm.evaluation.bootstrap import Bootstrap
from mesm.evaluation.evaluate import evaluate_run
from mesm.evaluation.run import Run
from mesm.inference.loading import DEMO_MODEL, load_trained
from mesm.publishing.publish import publish
from mesm.training.loop import train
from tests.mesm.conftest import SMALL


@pytest.fixture
def published(
    request: pytest.FixtureRequest, own_corpus: Path, tmp_path: Path
) -> tuple[Path, Path]:
    """A run, scored, and what was published of it."""
    run = shutil.copytree(request.getfixturevalue(request.param), tmp_path / "run")
    evaluate_run(run, "test", bootstrap=Bootstrap(draws=5, cluster="clip"), corpus=own_corpus)
    licence = "cc-by-4.0"
    return run, publish(run, tmp_path / "model", licence=licence, corpus=own_corpus)


@pytest.mark.parametrize("published", ["own_mesm", "own_single"], indirect=True)
def test_a_published_model_predicts_recordings_as_its_run_does(
    published: tuple[Path, Path], films: Path
) -> None:
    ours, theirs = (Pipeline.from_pretrained(place, "cpu") for place in published)
    for text in ("very happy", None):
        (one,), (other,) = (
            which(films / "film2.mp4", text=text).pieces for which in (ours, theirs)
        )
        assert one.probabilities == other.probabilities
        assert one.calibrated == other.calibrated
        assert one.thresholds == other.thresholds
        assert (one.decided, one.missing, one.weights) == (
            other.decided,
            other.missing,
            other.weights,
        )
    assert ours.trained.preprocessing == theirs.trained.preprocessing
    assert ours.trained.task is theirs.trained.task


def test_a_folder_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no trained run, config\.yaml"):
        load_trained(tmp_path)


def test_a_name_on_the_hub_must_have_its_form() -> None:
    with pytest.raises(ValueError, match="wanted hub:USER/NAME"):
        load_trained("hub:nobody")


@pytest.mark.parametrize("published", ["own_mesm"], indirect=True)
def test_a_model_on_the_hub_is_fetched(
    published: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return published[1]

    monkeypatch.setattr("mesm.inference.loading.download", fetch)
    found = load_trained("hub:somebody/model", "cpu")
    assert asked == ["somebody/model"]
    for own, other in zip(
        found.model.state_dict().values(),
        load_trained(published[0], "cpu").model.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(own, other)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:99"])
@pytest.mark.parametrize("place", ["demo", "nowhere"])
def test_a_device_that_is_not_there_is_refused_first(device: str, place: str) -> None:
    with pytest.raises(ValueError, match=f"{device}|cuda, or cuda:N|no device"):
        load_trained(place, device)


def test_a_published_folder_is_known_by_what_it_says(tmp_path: Path) -> None:
    """A folder from elsewhere is checked as such, whatever else lies in it."""
    model = shutil.copytree(DEMO_MODEL, tmp_path / "model")
    (model / "config.yaml").write_text("training: {}\n")
    assert load_trained(model, "cpu").title == "MESM"
    (model / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_trained(model, "cpu")


def test_a_run_of_a_fold_predicts_by_its_own_fold(
    own_corpus: Path, own_mesm: Path, films: Path, tmp_path: Path
) -> None:
    """Its statistics are of the clips that it learnt from, not of the corpus' training split."""
    run = tmp_path / "fold"
    fold = ("fold.by=speaker", "fold.index=2", "fold.k=3")
    train(load_config("own_mesm", [f"corpus={own_corpus}", *SMALL, *fold]), run)
    pipeline = Pipeline.from_pretrained(run, "cpu")
    kept = json.loads((run / "fold.json").read_text())
    read = pipeline.trained.preprocessing
    figures = [[read.spectrogram_mean], [read.spectrogram_std]]
    assert figures == kept["statistics"]["spectrogram"]
    assert read.spectrogram_mean != load_trained(own_mesm, "cpu").preprocessing.spectrogram_mean
    opened = Run.open(run, device="cpu")
    with torch.inference_mode():
        logits = opened.model(opened.batch_of("film2"))[0].double()
    (found,) = pipeline(films / "film2.mp4", text="very happy").pieces
    single = pipeline.trained.task.loss == "cross_entropy"
    wanted = logits.softmax(0) if single else logits.sigmoid()
    assert list(found.probabilities.values()) == pytest.approx(wanted.tolist(), abs=1e-5)
