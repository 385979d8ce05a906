"""The words of `mesm predict`, before anything is loaded; `tests/mesm/inference` has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesm.cli import app
from mesm.inference import command
from mesm.inference.cutting import Words


def called(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["predict", *words])
    return done.exit_code, done.output


def test_who_names_no_recording_is_told_of_the_demo_model(tmp_path: Path) -> None:
    for words, said in (((), "demo me.mp4"), (("runs/a",), "demo me.mp4")):
        code, output = called(*words)
        assert code == 2
        assert output.endswith(f"mesm predict {said}\n")
    clip = tmp_path / "my clip.mp4"
    clip.touch()
    assert called(str(clip))[1].endswith(f"mesm predict demo '{clip}'\n")


def test_options_become_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def predict_all(*arguments: Any) -> list[str]:
        told.extend(arguments)
        return ["a.mp4 is damaged"] if len(told) > 5 else []

    monkeypatch.setattr(command, "predict_all", predict_all)
    words = ("run", "a.mp4", "b", "--text", "so", "--person", "2", "--out", "o.csv")
    more = ("--pictures", "p", "--video", "v.mp4", "--transcribe", "t", "--device", "cpu")
    assert called(*words, *more) == (0, "")
    run, request, _, device, mtcnn = told
    assert (run, device, mtcnn) == ("run", "cpu", None)
    assert request == command.Request(
        (Path("a.mp4"), Path("b")),
        *(Words("so"), 2, Path("o.csv"), Path("p"), Path("v.mp4"), Path("t")),
    )
    assert called("run", "a.mp4")[0] == 1  # one of them failed
    code, output = called("run", "a.mp4", "--person", "nobody")
    assert code == 2
    assert "--person: wanted a number from 1 on, or all, got 'nobody'" in output
