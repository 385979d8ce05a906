"""docs/sharing.md: its commands and its example run as they are written."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from mesm.cli import app
from mesm.publishing.contents import FILES
from tests.mesm.publishing.little_hub import TOKEN, little_hub

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/sharing.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_it_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(ROOT / "tests/data/legacy", tmp_path / "here")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with little_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        for line in block("bash").splitlines():
            done = CliRunner().invoke(app, shlex.split(line)[1:])
            assert done.exit_code == 0, done.output
        assert set(hub.models["USER/NAME"]) == set(FILES)
        assert hub.private["USER/NAME"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("python"), "sharing.md", "exec"), {})
    lines = printed.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == [
        *("angry", "excited", "frustrated", "happy", "neutral", "sad")
    ]
    assert all(0 < float(line.split()[1]) < 1 for line in lines)


def test_it_names_every_file() -> None:
    assert set(re.findall(r"^\| `([\w.]+)`", PAGE, re.MULTILINE)) == set(FILES)
