"""`mesm publish` on the command line; `tests/mesm/publishing` has the rest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mesm.cli import app
from mesm.publishing.load import load_published

DATA = Path(__file__).parents[2] / "data" / "legacy"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with runs and corpora."""
    folder = shutil.copytree(DATA, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


def called(*words: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, ["publish", *words])
    return done.exit_code, (done.stdout if done.exit_code == 0 else done.output).splitlines()


def test_it_names_the_folder(here: Path, tmp_path: Path) -> None:
    corpus = (here / "corpora/iemocap").rename(tmp_path / "moved")
    words = ("runs/iemocap_fe2e", "out/a model", "--license", "mit", "--corpus", str(corpus))
    code, said = called(*words)
    assert (code, said[-1]) == (0, "out/a model")
    assert load_published("out/a model").settings.name == "fe2e"
    assert "license: mit" in Path("out/a model/README.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs/none", "out"), "no trained run, config.yaml is not there"),
        (("runs/iemocap_mult", "out"), "reads hand-crafted features"),
        (("runs/iemocap_fe2e", "out", "--private"), "--private is for hub:USER/NAME"),
        (("runs/iemocap_fe2e", "hub:name"), "wanted hub:USER/NAME"),
        (("runs/iemocap_fe2e", "out", "--license", "x"), "no identifier that the hub lists"),
        (("runs/iemocap_fe2e", "out", "--corpus", "none"), "none has no manifest.json"),
        (("runs/iemocap_fe2e", "runs"), "which is no part of a published model"),
    ],
)
def test_refused_in_one_line(words: tuple[str, ...], said: str, here: Path) -> None:
    code, lines = called(*words)
    assert code == 2
    assert lines[-1].startswith("mesm: ")
    assert said in lines[-1]
    assert not (here / "out").exists()
