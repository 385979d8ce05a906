"""`mesm export` writes whole files, or refuses in one line and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch._inductor.exc import InvalidCxxCompiler
from typer.testing import CliRunner

from mesm.cli import app
from mesm.evaluation.run import Run
from mesm.exporting import onnx_model
from mesm.exporting.command import export
from mesm.exporting.traced import Traced
from mesm.inference.loading import load_trained

MESM = Path("runs/iemocap_mesm")
pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs/none", "x.onnx"), "no trained run, config.yaml is not there"),
        (("runs/iemocap_mult", "x.onnx"), "reads hand-crafted features"),
        (("hub:name", "x.onnx"), "wanted hub:USER/NAME"),
        ((str(MESM), "x.pt2", "--device", "cuda"), "wanted --device cpu, got 'cuda'"),
        ((str(MESM), "x.pt2", "--clip", "nobody"), "has no clip 'nobody'"),
        (("hub:me/model", "x.pt2", "--clip", "a"), "hub:me/model is a published model; export the"),
        (("demo", "x.onnx", "--clip", "a"), "demo is a published model; export the run itself"),
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


def test_a_folder_in_which_torch_cannot_compile_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "two words"))
    with pytest.raises(ValueError, match=r"two words, and cannot where a name has blanks: name an"):
        export(MESM, Path("x.pt2"))


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
    # An ONNX model has none.
    monkeypatch.setattr("mesm.exporting.command.onnx_bytes", lambda trained: b"model")
    assert export(MESM, Path("kernelless.onnx")) == [Path("kernelless.onnx")]


@pytest.mark.parametrize("name", ["model.pt2", "model.onnx"])
def test_a_clips_inputs_replace_no_weights_of_a_run(here: Path, name: str) -> None:
    before = {file: file.read_bytes() for file in MESM.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=r"model\.safetensors: --clip would .*name OUT otherwise"):
        export(MESM, MESM / name, clip="any")
    assert {file: file.read_bytes() for file in MESM.rglob("*") if file.is_file()} == before


def test_a_clip_is_written_beside(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesm.exporting.command.package_bytes", lambda trained: b"package")
    clip = Run.open(MESM, device="cpu").corpus.split("test").clip_ids[0]
    for _ in range(2):  # an export's own file may be replaced
        files = export(MESM, here / "clip" / "x.pt2", clip=clip)
    assert files == [here / "clip" / "x.pt2", here / "clip" / "x.safetensors"]
    assert files[0].read_bytes() == b"package"
    batch, kept = Run.open(MESM, device="cpu").batch_of(clip), load_file(files[1])
    assert set(kept) == set(Traced(load_trained(MESM, "cpu")).inputs)
    assert all(torch.equal(getattr(batch, name), value) for name, value in kept.items())
