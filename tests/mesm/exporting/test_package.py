"""A package gives what its model gives, and the C++ program of the documents prints that."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import cmake
import ninja
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch._inductor import config

from mesm import models
from mesm.evaluation.calibration import Temperatures
from mesm.exporting.package import compiled, package_bytes
from mesm.exporting.traced import Traced
from mesm.inference.loading import Trained, load_trained
from mesm.runs.checkpoints import read_arguments
from mesm.runs.folder import RunFolder

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "cpp"
DATA = ROOT / "tests" / "data" / "legacy"
MESM = Path("runs/iemocap_mesm")


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A MESM of text and faces, without sound, so that there is half as much to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(DATA)
        found = load_trained(MESM, "cpu")
        arguments = read_arguments(RunFolder(MESM))
    torch.manual_seed(0)
    model = models.MESM(**arguments | {"modalities": "tv", "p": 0.4}).eval()
    warm = {emotion: 1.5 + place for place, emotion in enumerate(found.emotions)}
    return replace(found, model=model, temperatures=Temperatures(warm, {}, "valid", 1))


@pytest.fixture(scope="module")
def package(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("package") / "model.pt2"
    file.write_bytes(package_bytes(trained))
    return file


def inputs(frames: list[int], subwords: int) -> dict[str, Tensor]:
    ids = torch.randint(5, 20, (len(frames), subwords))
    mask = torch.arange(subwords) < torch.randint(1, subwords + 1, (len(frames), 1))
    faces = torch.randn(sum(frames), 3, 48, 48)
    given = (ids, mask, faces, torch.tensor(frames))
    return dict(zip(("text_ids", "text_mask", "faces", "face_lengths"), given, strict=True))


def test_the_same_for_any_clips(trained: Trained, package: Path) -> None:
    traced, run = Traced(trained), torch._inductor.aoti_load_package(str(package))
    for frames, subwords in (([2, 3], 5), ([1], 1), ([4, 0, 9, 1], 12), ([0], 3), ([40], 7)):
        given = inputs(frames, subwords).values()
        with torch.no_grad():
            for found, wanted in zip(run(*given), traced(*given), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


# Each of these a package takes for what it is not, most of them without a word.
WRONG = [
    ("", None, "wanted text_mask, got text_ids; take both files from one mesm export"),
    ("faces", torch.zeros(3, 3, 40, 40), "wanted faces F32 faces* 3 48 48, got Float [3, 3, 40, "),
    ("faces", torch.zeros(9, 48, 48), "wanted faces F32 faces* 3 48 48, got Float [9, 48, 48]"),
    ("faces", torch.zeros(3, 3, 48, 48, dtype=torch.int64), "got Long [3, 3, 48, 48]"),
    ("text_mask", torch.ones(1, 9, dtype=torch.bool), "BOOL clips subwords, got Bool [1, 9]"),
    ("text_ids", torch.zeros(1, 0, dtype=torch.int64), "I64 clips subwords, got Long [1, 0]"),
    ("face_lengths", torch.tensor([4]), "I64 clips =faces*, got Long [1] of 4 in all"),
    ("face_lengths", torch.tensor([-3]), "I64 clips =faces*, got Long [1] of -3 in all"),
]


def test_a_program_in_cpp_prints_the_probabilities(
    trained: Trained, package: Path, tmp_path: Path
) -> None:
    paths = {**os.environ, "PATH": os.pathsep.join([ninja.BIN_DIR, os.environ["PATH"]])}
    tool, torch_place = Path(cmake.CMAKE_BIN_DIR) / "cmake", torch.utils.cmake_prefix_path
    options = [f"-DCMAKE_PREFIX_PATH={torch_place}", f"-DMESM_OPS={ROOT / 'mesm_ops'}", "-GNinja"]
    for words in (["-S", EXAMPLE, "-B", tmp_path / "build", *options], ["--build", "build"]):
        done = subprocess.run(
            [tool, *words], cwd=tmp_path, env=paths, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    torch.manual_seed(1)
    clip = inputs([3], 6)
    save_file(clip, tmp_path / "clip.safetensors")
    program = [tmp_path / "build" / "predict", package, tmp_path / "clip.safetensors"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    said = dict(line.split() for line in done.stdout.splitlines())
    with torch.no_grad():
        _, probabilities = Traced(trained)(*clip.values())
    assert list(said) == list(trained.emotions)
    found = torch.tensor([float(value) for value in said.values()], dtype=torch.float64)
    torch.testing.assert_close(found, probabilities[0], rtol=0, atol=1e-6)
    checked = {**os.environ, "AOTI_RUNTIME_CHECK_INPUTS": "1"}  # as the page says, of one clip too
    assert subprocess.check_output(program, env=checked, text=True) == done.stdout
    wrong = tmp_path / "wrong.safetensors"
    for name, other, said_so in WRONG:
        save_file({**clip, name: other} if name else {"text_ids": clip["text_ids"]}, wrong)
        done = subprocess.run([*program[:2], wrong], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert said_so in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = subprocess.run([*program[:2], package], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("predict: ")


def test_a_compiler_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "full"
    compiler.write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then exec c++ --version; fi\n'
        'echo "a.cpp: fatal error: No space left on device" >&2\nexit 1\n'
    )
    compiler.chmod(0o700)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    program = torch.export.export(torch.nn.Linear(2, 2).eval(), (torch.ones(3, 2),))
    wanted = r"failed \(a.cpp: fatal error: No space .*it needs room"
    with config.patch({"cpp.cxx": (None, str(compiler))}), pytest.raises(ValueError, match=wanted):
        compiled(program, {})


def test_the_program_is_short() -> None:
    assert len((EXAMPLE / "predict.cpp").read_text().splitlines()) < 100
    assert len((EXAMPLE / "safetensors.h").read_text().splitlines()) < 100
