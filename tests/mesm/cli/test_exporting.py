"""`mesm export` hands its words on and prints the files that were written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesm.cli import app


def test_words_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def export(*given: Any, **named: Any) -> list[Path]:
        asked.append((given, named))
        return [Path("a.pt2"), Path("a.safetensors")]

    monkeypatch.setattr("mesm.exporting.command.export", export)
    done = CliRunner().invoke(app, ["export", "run", "a.pt2", "--clip=-id", "--corpus", "corpus"])
    assert (done.exit_code, done.stdout) == (0, "a.pt2\na.safetensors\n")
    CliRunner().invoke(app, ["export", "hub:me/model", "a.onnx", "--device", "cuda"])
    assert asked == [
        (
            ("run", Path("a.pt2")),
            {"device": "cpu", "clip": "-id", "corpus": Path("corpus")},
        ),
        (
            ("hub:me/model", Path("a.onnx")),
            {"device": "cuda", "clip": None, "corpus": None},
        ),
    ]


def test_what_is_left_out_is_named() -> None:
    done = CliRunner().invoke(app, ["export", "run"])
    assert done.exit_code == 2
    assert "OUT.onnx|OUT.pt2" in done.output
