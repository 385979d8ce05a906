import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from mesm.config import load_config
from mesm.evaluation import evaluate_run, load_run
from mesm.explain import explain
from mesm.measurement import FlopTally
from mesm.metrics import Thresholds, score
from mesm.models import FE2E, MESM, MulT
from mesm.sweep import sweep
from mesm.training import train
from tests.mesm.made_up_features import write_features


@pytest.fixture
def run(tiny_mesm, tmp_path):
    """A copy, to write into."""
    return shutil.copytree(tiny_mesm, tmp_path / "run")


def test_loads_the_best_weights(tiny_mesm, tiny_fe2e):
    loaded = load_run(tiny_mesm)
    assert isinstance(loaded.model, MESM)
    assert not loaded.model.training
    kept = load_file(tiny_mesm / "model.safetensors")
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, kept[name])
    assert isinstance(load_run(tiny_fe2e).model, FE2E)
    assert loaded.accuracy_name == "accuracy"


def test_batches_and_single_clips_agree(tiny_mesm):
    loaded = load_run(tiny_mesm, device="cpu")
    logits, labels = loaded.predict("test")
    assert logits.shape == labels.shape == (7, 6)
    with torch.no_grad():
        by_two = torch.cat([loaded.model(batch) for batch in loaded.batches("test", 2)])
        alone = loaded.model(loaded.batch_of("test_003"))
    torch.testing.assert_close(by_two, logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(alone[0], logits[3], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="no clip 'nobody'"):
        loaded.batch_of("nobody")


def test_writes_and_prints_the_scores(run, capsys):
    loaded = load_run(run)
    thresholds = Thresholds.tuned(*loaded.predict("valid"))
    wanted = score(*loaded.predict("test"), thresholds, loaded.emotions)
    found = evaluate_run(run)
    assert found["average"] == wanted["average"]
    assert found["threshold"]["policy"] == "tuned on validation F1"
    assert found["split"] == "test"
    output = capsys.readouterr().out
    assert "threshold: tuned on validation F1" in output
    assert all(emotion in output for emotion in loaded.emotions)
    evaluate_run(run, "valid")
    kept = json.loads((run / "evaluation.json").read_text())
    assert set(kept) == {"test", "valid"}
    assert kept["test"] == found


def test_thresholds_follow_the_settings(run):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("threshold: tuned", "threshold: '0.5'"))
    assert load_run(run).score("test")["threshold"]["policy"] == "0.5"


@pytest.mark.parametrize("name", ["config.yaml", "config.json", "model.safetensors"])
def test_refuses_a_folder_that_is_no_run(run, name):
    (run / name).unlink()
    with pytest.raises(ValueError, match=f"no trained run, {name} is missing"):
        load_run(run)


def test_refuses_a_run_without_its_subwords(run):
    (run / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="no tokenizer at"):
        load_run(run)


def test_refuses_another_models_weights(run):
    weights = load_file(run / "model.safetensors")
    weights["fuse.weight"] = torch.zeros(5)
    save_file(weights, run / "model.safetensors")
    with pytest.raises(ValueError, match=r"another model .*fuse\.weight must be \(3,\), is \(5,\)"):
        evaluate_run(run)


@pytest.fixture(scope="module")
def tiny_mult(tiny_features, tmp_path_factory):
    sizes = ["model.dim=10", "model.layers=1", "model.memory_layers=1", "training.epochs=1"]
    config = load_config("iemocap_mult", [f"corpus={tiny_features}", *sizes])
    return train(config, tmp_path_factory.mktemp("mult") / "run")


def test_a_baselines_scores_name_its_features(tiny_mult, tmp_path, capsys):
    run = shutil.copytree(tiny_mult, tmp_path / "run")
    loaded = load_run(run, device="cpu")
    assert isinstance(loaded.model, MulT)
    found = evaluate_run(run)
    assert "features: made-up features" in capsys.readouterr().out
    assert found["features"] == "made-up features"
    assert json.loads((run / "evaluation.json").read_text())["test"] == found
    logits, _ = loaded.predict("test")
    with torch.no_grad():
        alone = loaded.model(loaded.batch_of("test_003"))
    torch.testing.assert_close(alone[0], logits[3], rtol=0, atol=1e-5)


def test_refuses_to_score_on_other_features(tiny_mult, tiny_features, tmp_path):
    corpus = shutil.copytree(tiny_features, tmp_path / "corpus")
    write_features(corpus, seed=1)
    run = shutil.copytree(tiny_mult, tmp_path / "run")
    config = (run / "config.yaml").read_text().replace(str(tiny_features), str(corpus))
    (run / "config.yaml").write_text(config)
    with pytest.raises(ValueError, match="was trained on other features"):
        evaluate_run(run)


def test_sweep_and_explain_refuse_a_baseline(tiny_mult, tiny_mesm):
    with pytest.raises(ValueError, match="wanted a MESM run, got MulT"):
        sweep(tiny_mult, [0.5])
    with pytest.raises(ValueError, match="wanted a MESM run, got MulT"):
        explain(tiny_mult)
    with pytest.raises(ValueError, match="wanted an FE2E run as the baseline, got a MulT run"):
        sweep(tiny_mesm, [0.5], baseline=tiny_mult)
    loaded = load_run(tiny_mult)
    with pytest.raises(ValueError, match=r"wanted FE2E or MESM, .* got MulT"):
        FlopTally().count(loaded.model, loaded.batch_of("test_003"))
