"""Exported models give in onnxruntime the logits and probabilities that they give in torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch._inductor.exc import InvalidCxxCompiler
from typer.testing import CliRunner

from mesm import models
from mesm.cli import app
from mesm.data.batch import Batch
from mesm.evaluation.run import Run
from mesm.exporting import onnx_model
from mesm.exporting.command import export
from mesm.exporting.onnx_model import onnx_bytes
from mesm.exporting.traced import OUTPUTS, Traced
from mesm.inference.loading import load_trained
from mesm.publishing.publish import publish
from mesm.runs.checkpoints import read_arguments
from mesm.runs.folder import RunFolder

DATA = Path(__file__).parents[2] / "data" / "legacy"
MESM, FE2E = Path("runs/iemocap_mesm"), Path("runs/iemocap_fe2e")
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory, with runs and corpora."""
    folder = shutil.copytree(DATA, tmp_path_factory.mktemp("exporting") / "here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs/none", "x.onnx"), "no trained run, config.yaml is not there"),
        (("runs/iemocap_mult", "x.onnx"), "reads hand-crafted features"),
        (("hub:name", "x.onnx"), "wanted hub:USER/NAME"),
        ((str(MESM), "x.pt2", "--device", "cuda"), "wanted --device cpu, got 'cuda'"),
        ((str(MESM), "x.pt2", "--clip", "nobody"), "has no clip 'nobody'"),
        ((str(MESM), "x.pt2", "--corpus", "none", "--clip", "a"), "none has no manifest.json"),
        ((str(MESM), "x.pt"), "wanted a file whose name ends in .onnx or .pt2, got x.pt"),
        ((str(MESM), "folder.onnx"), "folder.onnx is a folder; name a file"),
        ((str(MESM), "README.md/x.onnx"), "README.md is a file"),
    ],
)
def test_refused_in_one_line(words: tuple[str, ...], said: str, here: Path) -> None:
    (here / "folder.onnx").mkdir(exist_ok=True)
    before = sorted(here.rglob("*"))
    done = CliRunner().invoke(app, ["export", *words])
    assert done.exit_code == 2
    assert done.output.startswith("mesm: ")
    assert said in done.output
    assert len(done.output.splitlines()) == 1
    assert sorted(here.rglob("*")) == before


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"onnx is missing; .*pip install .*\[onnx\]'"):
        export(MESM, Path("x.onnx"))
    assert not Path("x.onnx").exists()


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InvalidCxxCompiler

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", refuse)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler, .*apt install g\+\+"):
        export(MESM, Path("x.pt2"))


def test_missing_kernels_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesm_ops.extension.cpu_missing", lambda: "they are missing: build them")
    with pytest.raises(ValueError, match="export: they are missing: build them"):
        export(MESM, Path("x.pt2"))
    assert not Path("x.pt2").exists()


def test_a_clip_is_written_beside(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesm.exporting.command.package_bytes", lambda trained: b"package")
    clip = Run.open(MESM, device="cpu").corpus.split("test").clip_ids[0]
    files = export(MESM, here / "clip" / "x.pt2", clip=clip)
    assert files == [here / "clip" / "x.pt2", here / "clip" / "x.safetensors"]
    assert files[0].read_bytes() == b"package"
    batch, kept = Run.open(MESM, device="cpu").batch_of(clip), load_file(files[1])
    assert set(kept) == set(Traced(load_trained(MESM, "cpu")).inputs)
    assert all(torch.equal(getattr(batch, name), value) for name, value in kept.items())


def test_too_large_a_model_is_refused() -> None:
    onnx_model.check_size(MESM, 2**31 - 1)
    with pytest.raises(ValueError, match=r"takes 3\.0 GiB, and an ONNX file holds 2"):
        onnx_model.check_size(MESM, 3 * 2**30)
