"""A run says what its folder says, and loads nothing before it is asked for."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mesm.data.clips import ClipDataset
from mesm.evaluation.run import Run
from mesm.models import FE2E, MESM
from tests.mesm.conftest import SIZES


@pytest.fixture
def run(tiny_mesm, tmp_path):
    """A copy, to write into."""
    return shutil.copytree(tiny_mesm, tmp_path / "run")


def test_loads_the_best_weights(tiny_mesm, tiny_fe2e):
    loaded = Run.open(tiny_mesm)
    assert isinstance(loaded.model, MESM)
    assert not loaded.model.training
    kept = load_file(tiny_mesm / "model.safetensors")
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, kept[name])
    assert isinstance(Run.open(tiny_fe2e).model, FE2E)
    assert loaded.accuracy_name == "accuracy"


def test_batches_and_single_clips_agree(tiny_mesm):
    loaded = Run.open(tiny_mesm, device="cpu")
    logits, labels = loaded.predict("test")
    assert logits.shape == labels.shape == (7, 6)
    with torch.no_grad():
        by_two = torch.cat([loaded.model(batch) for batch in loaded.batches("test", 2)])
        alone = loaded.model(loaded.batch_of("test_003"))
    torch.testing.assert_close(by_two, logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(alone[0], logits[3], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="no clip 'nobody'"):
        loaded.batch_of("nobody")


@pytest.mark.parametrize("name", ["config.yaml", "config.json", "model.safetensors"])
def test_refuses_a_folder_that_is_no_run(run, name):
    (run / name).unlink()
    with pytest.raises(ValueError, match=f"no trained run, {name} is not there"):
        Run.open(run)


def test_refuses_a_run_without_its_subwords(run):
    (run / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="no tokenizer at"):
        Run.open(run).model  # noqa: B018


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_are_the_split_in_order(tiny_mesm: Path, size: int) -> None:
    run = Run.open_sparse(tiny_mesm)
    dataset = run.dataset("test")
    assert isinstance(dataset, ClipDataset)
    wanted = [dataset.clip(place).clip_id for place in range(SIZES["test"])]
    found = []
    for batch in run.batches(dataset, size):
        assert len(batch) <= size
        labels = torch.stack([dataset[len(found) + i].labels for i in range(len(batch))])
        assert torch.equal(batch.labels, labels)
        found += batch.clip_ids
    assert found == wanted
    assert [clip for batch in run.batches("test") for clip in batch.clip_ids] == wanted


def test_p_is_the_trained_one_unless_chosen(tiny_mesm: Path) -> None:
    trained = Run.open_sparse(tiny_mesm)
    assert trained.p == trained.config.model.p
    chosen = Run.open_sparse(tiny_mesm, 0.3)
    assert chosen.p == 0.3
    for run in (trained, chosen):
        for tower in (run.sparse.face, run.sparse.audio):
            assert {block.p for block in tower.extractor.blocks} == {run.p}
    with pytest.raises(ValueError, match="predictions are kept at the run's own p alone"):
        chosen.predictions("test")


def test_p_is_checked_and_only_a_mesm_has_one(tiny_mesm: Path, tiny_fe2e: Path) -> None:
    with pytest.raises(ValueError, match=r"p must be in \(0, 1\]"):
        Run.open_sparse(tiny_mesm, 0.0)
    with pytest.raises(ValueError, match="wanted a MESM run, got FE2E"):
        Run.open_sparse(tiny_fe2e)


def test_its_corpus_may_be_named(run, tiny_corpus, tmp_path):
    assert Run(run).corpus.path == tiny_corpus
    copy = shutil.copytree(tiny_corpus, tmp_path / "copy")
    found = Run.open(run, corpus=copy)
    assert found.corpus.path == copy
    assert found.config.corpus == tiny_corpus
    assert found.located.corpus == copy
    assert found.origin == Run.open(run).origin


def test_a_corpus_with_other_emotions_is_refused(run):
    arguments = json.loads((run / "config.json").read_text())
    corpus = shutil.copytree(Run(run).corpus.path, run.parent / "corpus")
    manifest = json.loads((corpus / "manifest.json").read_text())
    manifest["emotions"] = manifest["emotions"][:-1]
    (corpus / "manifest.json").write_text(json.dumps(manifest))
    config = (run / "config.yaml").read_text().replace(str(Run(run).corpus.path), str(corpus))
    (run / "config.yaml").write_text(config)
    with pytest.raises(ValueError, match=r"was trained on another corpus than .*corpus is now"):
        Run.open(run)
    (run / "corpus.json").unlink()  # as an earlier run, whose checkpoint knows the emotions
    with pytest.raises(ValueError, match=r"was trained on another corpus than .*corpus is now"):
        Run.open(run)
    shutil.rmtree(run / "last")
    (run / "evaluation.json").unlink(missing_ok=True)
    message = f"has 5 emotions, the model of .* tells {arguments['emotions']} apart"
    with pytest.raises(ValueError, match=message):
        Run.open(run).model  # noqa: B018


def test_kept_predictions_that_are_not_the_corpus_are_made_anew(run):
    whole = Run.open(run).predictions("test")
    file = run / "predictions" / "test.parquet"

    def spoilt(**changes):
        replace(whole, **changes).write(file)
        found = Run.open(run).predictions("test")
        assert found.clip_ids == whole.clip_ids
        assert torch.equal(found.labels, whole.labels)
        assert torch.equal(found.logits, whole.logits)

    spoilt(logits=whole.logits * torch.nan)
    spoilt(branches=whole.branches | {"text": whole.logits / 0})
    spoilt(labels=1 - whole.labels)
    spoilt(clip_ids=whole.clip_ids[::-1])
    spoilt(dialogs=["other"] * len(whole.dialogs))
    spoilt(
        clip_ids=whole.clip_ids[:3],
        dialogs=whole.dialogs[:3],
        logits=whole.logits[:3],
        labels=whole.labels[:3],
        branches={},
    )


def test_another_runs_subwords_are_refused(run):
    other = json.loads((run / "tokenizer.json").read_text())
    other["model"]["vocab"].pop()
    (run / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"tokenizer\.json: has \d+ subwords, the model knows"):
        Run.open(run).model  # noqa: B018


def test_a_table_of_runs_loads_no_weights(run, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("loaded")

    monkeypatch.setattr("mesm.models.build.restore_model", refuse)
    assert Run(run).scores["split"] == "test"
    Run.open(run)
    with pytest.raises(AssertionError, match="loaded"):
        Run.open(run).model  # noqa: B018


def test_a_published_model_is_told_from_a_run(tmp_path):
    for name in ("preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"is a published model, and no run .*; mesm predict /.*"):
        Run.open(tmp_path)
