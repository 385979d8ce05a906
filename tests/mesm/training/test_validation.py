"""The scores of an epoch are those of the weights that it left."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from mesm.evaluation.predict import NotFiniteError
from mesm.evaluation.run import Run
from mesm.training.losses import TrainingLoss, positive_weights
from mesm.training.validation import Validation


def validation_of(run: Run) -> tuple[Validation, TrainingLoss]:
    AcceleratorState._reset_state()  # a training in this process may have had other settings
    weights = positive_weights(run.feed.dataset("train").labels()).to(run.device)
    found = Validation(
        run.feed.dataset("valid"),
        run.collate,
        list(run.corpus.manifest.emotions),
        run.config,
        Accelerator(cpu=not torch.cuda.is_available()),
    )
    return found, TrainingLoss(weights, run.config.training)


def test_the_best_epoch_s_row_is_that_of_the_weights_that_were_kept(tiny_fe2e: Path) -> None:
    rows = [json.loads(line) for line in (tiny_fe2e / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: (row["valid_f1"], -row["valid_loss"]))
    run = Run.open(tiny_fe2e)
    validation, loss = validation_of(run)
    row, (logits, labels) = validation(run.model.eval(), loss)
    assert row["valid_loss"] == pytest.approx(best["valid_loss"], rel=1e-5)
    assert {key: row[key] for key in row if key != "valid_loss"} == {
        key: best[key] for key in row if key != "valid_loss"
    }
    assert logits.shape == labels.shape
    assert logits.shape == (len(validation.dataset), len(validation.emotions))


def test_outputs_that_are_not_finite_are_refused(tiny_fe2e: Path) -> None:
    run = Run.open(tiny_fe2e)
    validation, loss = validation_of(run)
    with torch.no_grad():
        next(run.model.parameters()).fill_(torch.nan)
    with pytest.raises(NotFiniteError):
        validation(run.model.eval(), loss)
