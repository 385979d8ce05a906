import hashlib
import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from mesm.analysis.costs import FlopTally
from mesm.analysis.explain import explain
from mesm.analysis.sweep import sweep
from mesm.config.files import load_config
from mesm.evaluation.bootstrap import Bootstrap, intervals
from mesm.evaluation.calibration import Temperatures, calibration_of
from mesm.evaluation.evaluate import evaluate_run, score_run
from mesm.evaluation.metrics import Thresholds, score
from mesm.evaluation.predictions import Predictions
from mesm.evaluation.run import Run
from mesm.models import MulT
from mesm.runs.hashes import sealed
from mesm.training.loop import train
from tests.mesm.made_up_features import write_features


@pytest.fixture
def run(tiny_mesm, tmp_path):
    """A copy, to write into."""
    return shutil.copytree(tiny_mesm, tmp_path / "run")


def test_writes_and_prints_the_scores(run, capsys):
    loaded = Run.open(run)
    thresholds = Thresholds.tuned(*loaded.predict("valid"))
    wanted = score(*loaded.predict("test"), thresholds, loaded.emotions)
    found = evaluate_run(run)
    assert found["average"] == wanted["average"]
    logits, labels = loaded.predict("test")
    wanted = intervals(
        thresholds.decide(logits), labels.bool(), ["test"] * 7, loaded.emotions, Bootstrap()
    )
    assert found["intervals"] == wanted
    assert found["threshold"]["policy"] == "tuned on validation F1"
    assert found["split"] == "test"
    output = capsys.readouterr().out
    assert "threshold: tuned on validation F1; F1: binary" in output
    assert "percentile bootstrap over 7 clips, 1000 draws" in output
    assert all(emotion in output for emotion in loaded.emotions)
    evaluate_run(run, "valid")
    kept = json.loads((run / "evaluation.json").read_text())
    assert set(kept) == {"test", "valid"}
    assert kept["test"] == found


def test_thresholds_follow_the_settings(run):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("threshold: tuned", "threshold: '0.5'"))
    assert score_run(Run.open(run), "test", Bootstrap(draws=10))["threshold"]["policy"] == "0.5"


def test_refuses_another_models_weights(run):
    weights = load_file(run / "model.safetensors")
    weights["fuse.weight"] = torch.zeros(5)
    save_file(weights, run / "model.safetensors")
    with pytest.raises(ValueError, match=r"another model .*fuse\.weight must be \(3,\), is \(5,\)"):
        evaluate_run(run)


@pytest.fixture
def predicted(monkeypatch):
    """The splits a model was asked for, in order."""
    asked = []
    real = Run.outputs

    def noting(self, split):
        asked.append(split)
        return real(self, split)

    monkeypatch.setattr(Run, "outputs", noting)
    return asked


def test_scores_again_without_the_model(run, predicted, monkeypatch):
    shutil.rmtree(run / "predictions")
    first = evaluate_run(run)
    assert sorted(predicted) == ["test", "valid"]

    def refuse(*arguments):
        raise AssertionError("loaded")

    with monkeypatch.context() as patched:
        patched.setattr("mesm.models.build.restore_model", refuse)
        assert evaluate_run(run) == first
    assert evaluate_run(run, fresh=True) == first
    assert sorted(predicted) == ["test", "test", "valid", "valid"]


@pytest.mark.parametrize("threshold", ["tuned", "0.5"])
def test_each_branch_is_scored_by_its_own_logits(run, threshold, capsys):
    scores = evaluate_run(run, threshold=threshold)
    loaded = Run.open(run, device="cpu")
    with torch.no_grad():
        found = {
            split: torch.cat(
                [loaded.model(batch, branches=True).branches for batch in loaded.batches(split)],
                dim=1,
            )
            for split in ("valid", "test")
        }
    labels = {split: loaded.predictions(split).labels for split in found}
    assert list(scores["branches"]) == ["text", "audio", "face"]
    for place, name in enumerate(scores["branches"]):
        thresholds = Thresholds.half(6)
        if threshold == "tuned":
            thresholds = Thresholds.tuned(found["valid"][place], labels["valid"])
        wanted = score(found["test"][place], labels["test"], thresholds, loaded.emotions)
        assert scores["branches"][name] == {key: wanted[key] for key in ("threshold", "average")}
        torch.testing.assert_close(
            loaded.predictions("test").branches[name], found["test"][place], rtol=0, atol=1e-6
        )
    assert "branch alone" in capsys.readouterr().out


@pytest.mark.parametrize("threshold", ["tuned", "0.5"])
@pytest.mark.parametrize("old", ["test", "valid"])
def test_predictions_of_before_are_scored_without_branches(run, predicted, threshold, old):
    evaluate_run(run)
    file = run / "predictions" / f"{old}.parquet"
    replace(Predictions.read(file), branches={}).write(file)
    predicted.clear()
    scores = evaluate_run(run, threshold=threshold)
    assert predicted == []
    assert ("branches" in scores) == (old == "valid" and threshold == "0.5")
    assert "branches" in evaluate_run(run, threshold=threshold, fresh=True)


def test_temperatures_are_the_trainings(run, predicted):
    kept = (run / "temperatures.json").read_bytes()
    loaded = Run.open(run)
    wanted = Temperatures.fit(*loaded.predict("valid"), loaded.emotions)
    assert loaded.temperatures == wanted
    shutil.rmtree(run / "predictions")
    predicted.clear()
    scores = evaluate_run(run, threshold="0.5")
    assert predicted == ["test"]
    found = loaded.predictions("test")
    assert scores["calibration"] == calibration_of(
        found.logits, found.labels, loaded.emotions, wanted
    )
    assert scores["calibration"]["fitted"]["clips"] == 6
    table = pq.read_table(run / "predictions" / "test.parquet")
    for place, emotion in enumerate(loaded.emotions):
        probabilities = wanted.probabilities(found.logits)[:, place].float()
        assert table[f"probability_{emotion}"].to_pylist() == probabilities.tolist()
    assert (run / "temperatures.json").read_bytes() == kept


@pytest.mark.parametrize("stale", [False, True])
def test_a_run_of_before_gets_temperatures_from_its_validation_split(run, predicted, stale, capsys):
    kept = run / "temperatures.json"
    before = json.loads(kept.read_text())
    shutil.rmtree(run / "predictions")
    if stale:
        kept.write_text(json.dumps(sealed(before | {"weights": "0" * 64})))
    else:
        kept.unlink()
    assert "fitted" not in evaluate_run(run, threshold="0.5")["calibration"]
    assert predicted == ["test"]
    assert "no temperatures are kept" in capsys.readouterr().out
    assert "fitted" in evaluate_run(run, "valid", threshold="0.5")["calibration"]
    assert json.loads(kept.read_text()) == before
    assert "fitted" in evaluate_run(run, threshold="0.5")["calibration"]
    assert predicted == ["test", "valid"]
    # Tuned thresholds need the predictions that give them.
    kept.unlink()
    shutil.rmtree(run / "predictions")
    assert "fitted" in evaluate_run(run)["calibration"]
    assert json.loads(kept.read_text()) == before
    assert "probability_sad" in pq.read_table(run / "predictions" / "test.parquet").column_names


def test_fixed_thresholds_need_no_validation_split(run, predicted):
    shutil.rmtree(run / "predictions")
    evaluate_run(run, threshold="0.5")
    assert predicted == ["test"]


@pytest.mark.parametrize("stale", ["weights", "settings", "damaged"])
def test_stale_predictions_are_made_anew(run, predicted, stale):
    evaluate_run(run)
    predicted.clear()
    kept = run / "predictions" / "test.parquet"
    before = kept.read_bytes()
    if stale == "weights":
        weights = load_file(run / "model.safetensors")
        weights["fuse.weight"] = -weights["fuse.weight"]
        save_file(weights, run / "model.safetensors")
    elif stale == "settings":
        config = (run / "config.yaml").read_text()
        assert "  p: 0.5" in config
        (run / "config.yaml").write_text(config.replace("  p: 0.5", "  p: 0.25"))
    else:
        kept.write_bytes(before[:100])
    scores = evaluate_run(run)
    assert "test" in predicted
    digest = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert scores["weights"] == {"file": "model.safetensors", "sha256": digest}
    assert (kept.read_bytes() == before) == (stale == "damaged")


def test_weights_that_change_meanwhile_are_refused(run, monkeypatch):
    shutil.rmtree(run / "predictions")
    real = Run.outputs

    def training_goes_on(self, split):
        found = real(self, split)
        weights = load_file(run / "model.safetensors")
        save_file(weights, run / "model.safetensors", metadata={"epoch": "3"})
        return found

    monkeypatch.setattr(Run, "outputs", training_goes_on)
    with pytest.raises(ValueError, match="changed while it was scored"):
        evaluate_run(run)
    assert not (run / "predictions").exists()


def test_other_settings_stand_apart(run, capsys):
    own = evaluate_run(run)
    before = (run / "config.yaml").read_bytes()
    other = evaluate_run(run, threshold="tuned_wacc", f1="weighted")
    assert other["threshold"]["policy"] == "tuned on validation WAcc"
    assert other["f1_variant"] == "weighted"
    assert "threshold: tuned on validation WAcc; F1: weighted" in capsys.readouterr().out
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept["test"] == own
    assert kept["variants"] == {"test": {"threshold=tuned_wacc f1=weighted": other}}
    assert (run / "config.yaml").read_bytes() == before
    # An option equal to the run's own settings makes no variant.
    evaluate_run(run, threshold="tuned", f1="binary")
    assert json.loads((run / "evaluation.json").read_text()) == kept


def test_f1_variant_follows_the_settings(run):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("f1: binary", "f1: weighted"))
    assert score_run(Run.open(run), "test", Bootstrap(draws=10))["f1_variant"] == "weighted"
    assert evaluate_run(run)["f1_variant"] == "weighted"


def test_dialogs_come_from_the_corpus(run):
    # All test clips of the tiny corpus are of one dialog.
    bounds = evaluate_run(run, bootstrap=Bootstrap(draws=10, cluster="dialog"))["intervals"]
    assert (bounds["cluster"], bounds["units"]) == ("dialog", 1)
    assert bounds["average"]["f1"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": "0.4"}, "threshold must be one of tuned, tuned_wacc, 0.5, got '0.4'"),
        ({"f1": "macro"}, "f1 must be one of binary, weighted, got 'macro'"),
    ],
)
def test_refuses_settings_there_are_not(run, settings, message):
    with pytest.raises(ValueError, match=message):
        evaluate_run(run, **settings)


@pytest.fixture(scope="module")
def tiny_mult(tiny_features, tmp_path_factory):
    sizes = ["model.dim=10", "model.layers=1", "model.memory_layers=1", "training.epochs=1"]
    config = load_config("iemocap_mult", [f"corpus={tiny_features}", *sizes])
    return train(config, tmp_path_factory.mktemp("mult") / "run")


def test_a_baselines_scores_name_its_features(tiny_mult, tmp_path, capsys):
    run = shutil.copytree(tiny_mult, tmp_path / "run")
    loaded = Run.open(run, device="cpu")
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
    run = shutil.copytree(tiny_mult, tmp_path / "run")
    evaluate_run(run)  # the predictions it keeps are no way around
    write_features(corpus, seed=1)
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
    loaded = Run.open(tiny_mult)
    with pytest.raises(ValueError, match=r"wanted FE2E or MESM, .* got MulT"):
        FlopTally().count(loaded.model, loaded.batch_of("test_003"))
