"""docs/predict.md: its commands' options are the command's, and its Python runs as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mesm.cli import app
from tests.mesm.inference.recordings import film, sound_file

PAGE = (Path(__file__).parents[3] / "docs/predict.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_it_names_every_option_but_device_and_no_other() -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["predict", "--help"]).output
    there = set(re.findall(r"--[a-z]+", re.sub(r"\x1b\[[0-9;]*m", "", shown)))
    named = set(re.findall(r"^\| `(--[a-z]+)", PAGE, re.MULTILINE))
    assert named == there - {"--help", "--device"}


def test_its_first_commands_make_what_they_say(
    own_mesm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "me.mp4", 1.2)
    monkeypatch.chdir(tmp_path)
    at_once, films, own, *_ = blocks("bash")
    # `make demo` trains for minutes.
    own = own.splitlines()[1].replace("demo/runs/mesm", str(own_mesm)).replace("seen", "own")
    for line in (*at_once.splitlines(), *films.splitlines(), own):
        assert line.startswith("mesm "), line
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, done.output
    for name in ("seen", "own"):
        assert len(list((tmp_path / name).iterdir())) == 2
    assert (tmp_path / "seen.mp4").is_file()


def test_its_python_runs_as_it_stands(
    own_mesm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name, seconds in (("me.mp4", 1.2), ("one.mp4", 1.2), ("an_hour.mp4", 31.0)):
        film(tmp_path / name, seconds, rate=2)
    sound_file(tmp_path / "two.wav", 1.2)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    capsys.readouterr()
    exec(compile(code.replace("demo/runs/mesm", str(own_mesm)), "predict.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0.0 1.")
    assert len(lines) >= 1 + 3
