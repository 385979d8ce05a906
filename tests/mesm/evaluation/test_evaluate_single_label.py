"""Runs on one emotion a clip: what is written and printed, compared and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mesm.evaluation.against import compare_runs
from mesm.evaluation.bootstrap import Bootstrap, intervals
from mesm.evaluation.evaluate import evaluate_run
from mesm.evaluation.predictions import Predictions
from mesm.evaluation.run import Run
from mesm.evaluation.single_label import MEASURES, MostProbable, score_single
from mesm.evaluation.task import SINGLE_LABEL
from mesm.runs.documents import Evaluation
from mesm.runs.files import read_json


@pytest.fixture
def run(single_mesm: Path, tmp_path: Path) -> Path:
    """A copy, to write into."""
    return shutil.copytree(single_mesm, tmp_path / "run")


def test_writes_and_prints_the_scores(run, capsys):
    found = evaluate_run(run)
    loaded = Run.open(run)
    assert loaded.task is SINGLE_LABEL
    logits, labels = loaded.predict("test")
    wanted = score_single(logits, labels, MostProbable(), loaded.emotions)
    assert {key: found[key] for key in wanted} == wanted
    assert found["headline"] == "accuracy"
    assert "f1_variant" not in found
    decisions = MostProbable().decide(logits)
    assert found["intervals"] == intervals(
        decisions, labels.bool(), ["test"] * 7, loaded.emotions, Bootstrap(), MEASURES
    )
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept["test"] == found
    assert read_json(run / "evaluation.json", Evaluation) == kept
    output = capsys.readouterr().out
    for text in (
        "decided for: the most probable emotion (argmax); there are no thresholds",
        "unweighted average recall",
        "weighted F1",
        "macro F1",
        "most probable emotion",
    ):
        assert text in output


def test_branches_are_decided_by_their_own_logits(run):
    """Nothing is tuned, so that no validation clip is predicted."""
    shutil.rmtree(run / "predictions")
    scores = evaluate_run(run)
    assert [file.stem for file in (run / "predictions").iterdir()] == ["test"]
    kept = Predictions.read(run / "predictions" / "test.parquet")
    assert list(scores["branches"]) == ["text", "audio", "face"]
    for name, logits in kept.branches.items():
        wanted = score_single(logits, kept.labels, MostProbable(), kept.emotions)
        assert scores["branches"][name] == {key: wanted[key] for key in ("threshold", "average")}


@pytest.mark.parametrize("options", [{"threshold": "0.5"}, {"f1": "weighted"}])
def test_thresholds_and_variants_of_f1_are_refused(run, options):
    before = (run / "evaluation.json").read_bytes()
    with pytest.raises(ValueError, match=r"for the most probable one, so --.* no effect"):
        evaluate_run(run, **options)
    with pytest.raises(ValueError, match="no effect"):
        compare_runs(run, run, **options)
    assert (run / "evaluation.json").read_bytes() == before


def test_another_query_is_compared_by_the_same_metrics(run):
    scores = evaluate_run(run, query="other")
    differences = scores["own_minus_other"]["average"]
    assert set(differences) == {"accuracy", "weighted_f1", "macro_f1", "uar"}
    own = evaluate_run(run)["average"]
    for name, values in differences.items():
        assert values["difference"] == pytest.approx(own[name] - scores["average"][name])


def test_differences_of_two_runs(run, single_fe2e, tmp_path, capsys):
    other = shutil.copytree(single_fe2e, tmp_path / "fe2e")
    # The settings of thresholds have no effect, so they need not agree.
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("threshold: tuned", "threshold: '0.5'"))
    ours, theirs = evaluate_run(run)["average"], evaluate_run(other)["average"]
    found = compare_runs(run, other, bootstrap=Bootstrap(draws=30))
    for name in ours:
        difference = found["average"][name]["difference"]
        assert difference == pytest.approx(ours[name] - theirs[name])
    assert found["threshold"] == {"policy": "argmax"}
    assert found["task"] == "single_label"
    assert found["runs"][0]["thresholds"] == {}
    assert "unweighted average recall" in capsys.readouterr().out


def test_runs_of_both_tasks_are_not_compared(run, tiny_mesm):
    with pytest.raises(ValueError, match="different tasks, one emotion a clip and several"):
        compare_runs(run, tiny_mesm)
    with pytest.raises(ValueError, match="different tasks, several emotions a clip and one"):
        compare_runs(tiny_mesm, run)


def test_temperatures_are_one_for_all_emotions(run):
    loaded = Run.open(run)
    temperatures = loaded.temperatures
    assert temperatures is not None
    assert list(temperatures.values) == ["softmax"]
    (run / "temperatures.json").unlink()
    evaluate_run(run, "valid")
    again = Run.open(run).temperatures
    assert again is not None
    assert again.values["softmax"] == pytest.approx(temperatures.values["softmax"], rel=1e-3)
    logits = loaded.predictions("valid").logits
    total = temperatures.probabilities(logits).sum(1)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("key", ["macro_f1", "uar", "accuracy"])
def test_scores_that_lack_a_figure_are_damaged(run, key):
    scores = json.loads((run / "evaluation.json").read_text())
    del scores["test"]["average"][key]
    (run / "evaluation.json").write_text(json.dumps(scores))
    with pytest.raises(ValueError, match=r"evaluation\.json: damaged, at test"):
        evaluate_run(run)
