"""A model as it is traced: clips to probabilities, sizes of any number, what users are told."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mesm.evaluation.calibration import Temperatures
from mesm.evaluation.run import Run
from mesm.evaluation.task import SINGLE_LABEL
from mesm.exporting.traced import Traced, block_names, described, quiet, without_fast_path
from mesm.inference.loading import Trained, load_trained
from mesm.models import MESM
from mesm_ops import SparseCrossModalBlock

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def trained() -> Trained:
    found = load_trained(Path("runs/iemocap_mesm"), "cpu")
    warm = {emotion: 1.0 + place for place, emotion in enumerate(found.emotions)}
    return replace(found, temperatures=Temperatures(warm, {}, "valid", 1))


def test_clips_to_probabilities_by_the_models_task(trained: Trained) -> None:
    batch = next(iter(Run.open(Path("runs/iemocap_mesm"), device="cpu").batches("test", 4)))
    traced = Traced(trained)
    assert traced.inputs == (
        *("text_ids", "text_mask", "faces", "face_lengths"),
        *("spectrograms", "spectrogram_lengths"),
    )
    given = [getattr(batch, name) for name in traced.inputs]
    with torch.no_grad():
        logits, probabilities = traced(*given)
        torch.testing.assert_close(logits, trained.model(batch), rtol=1e-5, atol=1e-6)
    warm = torch.arange(1, len(trained.emotions) + 1, dtype=torch.float64)
    torch.testing.assert_close(probabilities, (logits.double() / warm).sigmoid())
    single = Traced(replace(trained, task=SINGLE_LABEL, temperatures=None))
    with torch.no_grad():
        logits, probabilities = single(*given)
    torch.testing.assert_close(probabilities, logits.double().softmax(1))


def test_examples_have_the_axes_that_are_free(trained: Trained) -> None:
    traced = Traced(trained)
    example = dict(zip(traced.inputs, traced.example(), strict=True))
    sizes: dict[str, set[int]] = {}
    for name, axes in traced.axes().items():
        for axis, free in axes.items():
            sizes.setdefault(free, set()).add(example[name].shape[axis])
    assert all(len(found) == 1 for found in sizes.values())
    ordered = [found.pop() for found in sizes.values()]
    assert len(set(ordered)) == len(ordered)  # else a trace would take two axes for one
    assert min(ordered) > 1
    with torch.no_grad():
        assert traced(*example.values())[1].shape == (2, len(trained.emotions))


def test_users_are_told_what_the_model_is(trained: Trained) -> None:
    model = trained.model
    assert isinstance(model, MESM)
    said = described(trained, Traced(trained))
    assert json.loads(said["emotions"]) == list(trained.emotions)
    assert said["calibrated"] == "true"
    names = json.loads(said["p"])
    assert names == block_names(model)
    by_name = {
        f"{name} {place}": block
        for name, extractor in model.sparse_extractors.items()
        for place, block in enumerate(extractor.blocks, 1)
    }
    for place, name in enumerate(names):
        by_name[name].p = 0.1 + place / 10
    found = [module.p for module in model.modules() if isinstance(module, SparseCrossModalBlock)]
    assert found == [0.1 + place / 10 for place in range(len(names))]


def test_settings_are_put_back() -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    with without_fast_path():
        assert not torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mha.get_fastpath_enabled() == before
    with quiet():
        warnings.warn("nobody hears", stacklevel=1)
    with pytest.warns(match="heard"):
        warnings.warn("heard", stacklevel=1)
