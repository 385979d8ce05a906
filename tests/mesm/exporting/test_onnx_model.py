"""ONNX models give in onnxruntime the logits and probabilities that they give in torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from mesm import models
from mesm.cli import app
from mesm.data.batch import Batch
from mesm.evaluation.run import Run
from mesm.exporting import onnx_model
from mesm.exporting.onnx_model import onnx_bytes
from mesm.exporting.traced import OUTPUTS
from mesm.inference.loading import load_trained
from mesm.publishing.publish import publish
from mesm.runs.checkpoints import read_arguments
from mesm.runs.folder import RunFolder

MESM, FE2E = Path("runs/iemocap_mesm"), Path("runs/iemocap_fe2e")
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def session(here: Path) -> onnxruntime.InferenceSession:
    """A published FE2E, which has temperatures, exported by the command."""
    publish(FE2E, here / "model", licence="mit")
    done = CliRunner().invoke(app, ["export", "model", "out/model.onnx"])
    assert (done.exit_code, done.stdout) == (0, "out/model.onnx\n"), done.output
    assert [file.name for file in Path("out").iterdir()] == ["model.onnx"]
    return onnxruntime.InferenceSession("out/model.onnx")


def batches(run: Path) -> list[Batch]:
    """Clips one by one, several at once, and some without any frame."""
    opened = Run.open(run, device="cpu")
    found = [batch for size in (1, 4) for batch in opened.batches("test", size)]
    last = found[-1]
    none = torch.zeros_like(last.face_lengths)
    empty = Batch(
        *(last.clip_ids, last.text_ids, last.text_mask, last.faces[:0], none),
        *(last.spectrograms[:0], none, last.labels),
    )
    return [*found, empty]


def given(session: onnxruntime.InferenceSession, batch: Batch) -> dict[str, np.ndarray]:
    return {one.name: getattr(batch, one.name).numpy() for one in session.get_inputs()}


def test_the_same_outputs_for_any_clips(session: onnxruntime.InferenceSession) -> None:
    trained = load_trained("model", "cpu")
    assert trained.temperatures is not None
    for batch in batches(FE2E):
        with torch.no_grad():
            logits = trained.model(batch)
        found = dict(zip(OUTPUTS, session.run(None, given(session, batch)), strict=True))
        np.testing.assert_allclose(found["logits"], logits, **TOLERANCE)
        wanted = trained.temperatures.probabilities(logits)
        np.testing.assert_allclose(found["probabilities"], wanted, **TOLERANCE)


def test_it_says_what_it_is(session: onnxruntime.InferenceSession) -> None:
    said = session.get_modelmeta().custom_metadata_map
    trained = load_trained("model", "cpu")
    assert json.loads(said["emotions"]) == list(trained.emotions)
    assert said["weights"] == trained.weights
    assert (said["system"], said["calibrated"]) == ("fe2e", "true")
    assert "p" not in said
    assert session.get_overridable_initializers() == []


def test_p_is_an_input_of_a_mesm_that_may_be_left_out() -> None:
    trained = load_trained(MESM, "cpu")
    arguments = read_arguments(RunFolder(MESM))
    torch.manual_seed(0)
    # With pictures alone there is little to trace.
    own = {"modalities": "v", "query": "face", "p": [0.5, 0.6, 0.7]}
    model = models.MESM(**arguments | own).eval()
    trained = replace(trained, model=model)
    session = onnxruntime.InferenceSession(onnx_bytes(trained))
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["p"]) == ["face 1", "face 2", "face 3"]
    assert [one.name for one in session.get_overridable_initializers()] == ["p"]
    for batch in batches(MESM):
        for p in (None, [1.0, 1.0, 1.0], [0.2, 0.9, 0.4]):
            model.set_p(p or [0.5, 0.6, 0.7])
            with torch.no_grad():
                wanted = model(batch)
            more = {"p": np.array(p)} if p else {}
            logits, probabilities = session.run(None, given(session, batch) | more)
            np.testing.assert_allclose(logits, wanted, **TOLERANCE)
            np.testing.assert_allclose(probabilities, wanted.double().sigmoid(), **TOLERANCE)


def test_too_large_a_model_is_refused() -> None:
    onnx_model.check_size(MESM, 2**31 - 1)
    with pytest.raises(ValueError, match=r"takes 3\.0 GiB, and an ONNX file holds 2"):
        onnx_model.check_size(MESM, 3 * 2**30)
