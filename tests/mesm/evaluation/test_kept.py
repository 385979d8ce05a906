"""Thresholds that a training keeps for its weights."""

import json

import pytest
import torch

from mesm.config.files import load_config
from mesm.evaluation.kept import keep_validation, kept_thresholds
from mesm.evaluation.metrics import Thresholds
from mesm.evaluation.task import MULTI_LABEL, SINGLE_LABEL
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256

NAMES = ["glad", "sad"]
VALIDATED = (torch.tensor([[2.0, -1.0], [-1.0, 0.5], [0.3, 1.0]]), torch.eye(3)[:, :2])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return RunFolder(tmp_path)


def config(policy="tuned"):
    return load_config("iemocap_mesm", ["corpus=x", f"evaluation.threshold={policy}"])


@pytest.mark.parametrize("policy", ["tuned", "tuned_wacc"])
def test_they_are_those_tuned_on_validation(folder, policy):
    weights = sha256(folder.best)
    assert kept_thresholds(folder, weights, policy, NAMES) is None
    keep_validation(folder, config(policy), MULTI_LABEL, VALIDATED, NAMES)
    wanted = Thresholds.choose(policy, 2, lambda: VALIDATED)
    assert kept_thresholds(folder, weights, policy, NAMES) == wanted
    other = "tuned_wacc" if policy == "tuned" else "tuned"
    assert kept_thresholds(folder, weights, other, NAMES) is None
    assert kept_thresholds(folder, "other weights", policy, NAMES) is None
    assert folder.temperatures.is_file()


def test_none_are_kept_where_nothing_is_tuned(folder):
    keep_validation(folder, config("0.5"), MULTI_LABEL, VALIDATED, NAMES)
    labels = torch.eye(2)[[0, 1, 1]]
    keep_validation(folder, config(), SINGLE_LABEL, (VALIDATED[0], labels), NAMES)
    assert not folder.thresholds.exists()


def test_damage_is_named(folder):
    keep_validation(folder, config(), MULTI_LABEL, VALIDATED, NAMES)
    weights = sha256(folder.best)
    with pytest.raises(ValueError, match=r"wanted thresholds of a, b, got glad, sad"):
        kept_thresholds(folder, weights, "tuned", ["a", "b"])
    values = json.loads(folder.thresholds.read_text())
    folder.thresholds.write_text(json.dumps(values | {"values": {"glad": 0.9, "sad": 0.5}}))
    with pytest.raises(ValueError, match=r"thresholds.json: is not as it was written"):
        kept_thresholds(folder, weights, "tuned", NAMES)
