"""A training step asks no tensor for its values, so on a GPU nothing waits: a graph can capture it.

Meta tensors have shapes and no values, and refuse to be asked; all but a CPU's sizes come from
shapes, so what runs on them runs on a GPU without waiting.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mesm import Batch
from mesm.config.experiment import TrainingSettings
from mesm.models import FE2E, MESM, LFTransformer, MulT
from mesm.training.losses import TrainingLoss
from tests.mesm.tiny_text import KINDS


def on_meta(batch: Batch) -> Batch:
    moved = batch.to("meta")
    assert moved.most_faces == int(batch.face_lengths.max())  # known before the batch left
    return moved


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (FE2E, {}),
        (MESM, {}),
        (MESM, {"selection": "hard"}),
        (MESM, {"query": "audio", "query_shuffle": 1.0}),
        (MESM, {"query": "face", "modalities": "va"}),
        (MESM, {"query": "mean", "p": [0.7, 0.5, 0.3]}),
    ],
    ids=["FE2E", "MESM", "MESM hard", "audio asks", "face asks", "the mean asks"],
)
def test_a_training_step_asks_for_no_value(kind: type, options: Any, small, make_batch) -> None:
    batch = on_meta(make_batch(faces=[3, 0], chunks=[1, 3], words=[5, 9]))
    settings = TrainingSettings(branch_loss=0.3, concentration=1.0 if kind is MESM else 0.0)
    with torch.device("meta"):
        model = kind(**small, **options).train()
        loss = TrainingLoss(torch.ones(6), settings)
    optimiser = torch.optim.AdamW(model.parameters())
    value = loss(model(batch, branches=True, entropy=("face", "audio")), batch.labels, 0.5)
    value.backward()
    optimiser.step()
    for name, parameter in model.named_parameters():
        unused = "selection" in options and ".attention." in name
        assert unused or parameter.grad is not None, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("freeze", [False, True])
def test_nor_does_any_kind_of_text_encoder(kind: str, freeze: bool, small, make_batch) -> None:
    batch = on_meta(make_batch(faces=[3, 0], chunks=[1, 3], words=[5, 9]))
    plain = {name: value for name, value in small.items() if name != "albert"}
    with torch.device("meta"):
        encoder = KINDS[kind] | {"model_type": kind}
        model = MESM(**plain, encoder=encoder, freeze_text=freeze).train()
    model(batch).sum().backward()
    assert (next(model.text.parameters()).grad is None) is freeze


@pytest.mark.parametrize("query", ["text", "audio", "face", "mean"])
@torch.no_grad()
def test_nor_does_inference(query: str, small, make_batch) -> None:
    batch = on_meta(make_batch(faces=[3, 2], chunks=[1, 3], words=[5, 9]))
    with torch.device("meta"):
        model = MESM(query=query, **small).eval()
    assert model(batch).shape == (2, 6)


@pytest.mark.parametrize("kind", [LFTransformer, MulT])
def test_nor_do_baselines_without_recurrence(kind: type, widths, make_features) -> None:
    batch = make_features([3, 0], [1, 3], [5, 9]).to("meta")
    with torch.device("meta"):
        model = kind(**widths).train()
        loss = TrainingLoss(torch.ones(3), TrainingSettings())
    optimiser = torch.optim.AdamW(model.parameters())
    loss(model(batch), batch.labels, 0.5).backward()
    optimiser.step()


def test_asking_would_be_noticed() -> None:
    with pytest.raises(RuntimeError, match="meta tensors"):
        torch.empty(3, device="meta").sum().item()
