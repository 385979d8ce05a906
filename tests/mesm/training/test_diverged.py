"""A message that names what may be to blame, and nothing else."""

import pytest

from mesm.config.experiment import TrainingSettings
from mesm.training.diverged import Diverged, remedy


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "lower training.learning_rate (5e-05)"),
        (
            {"learning_rate": 1.0, "weight_decay": 50.0},
            "lower training.weight_decay (50) or training.learning_rate (1)",
        ),
        (
            {"learning_rate": 1e30, "weight_decay": 0.01},
            "lower training.learning_rate (1e+30) or training.weight_decay (0.01)",
        ),
        (
            {"concentration": 1e20, "branch_loss": 1.0, "text_learning_rate_factor": 5.0},
            "lower training.learning_rate (5e-05) or training.text_learning_rate_factor (5) or "
            "training.concentration (1e+20)",
        ),
        (
            {"gradient_clip": None, "mixed_precision": "fp16"},
            "lower training.learning_rate (5e-05), or limit training.gradient_clip, or take "
            "training.mixed_precision=bf16",
        ),
    ],
)
def test_names_the_settings(settings, text):
    assert remedy(TrainingSettings(**settings)) == text


def test_is_of_both_kinds():
    assert issubclass(Diverged, ValueError)
    assert issubclass(Diverged, FloatingPointError)
