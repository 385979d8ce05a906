from __future__ import annotations

import sys

import pytest

from benchmarks.gpu import watch
from benchmarks.shapes import Shape


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["watch", "--device", "cpu", *arguments])
    watch.main()


def test_every_call_is_named_before_it_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--shape", "4-6-5x4", "--dtype", "float32")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cross_modal_score, 4→6 @ 5x4, float32"
    assert lines[-1] == "4→6 @ 5x4, float32: 19 calls ran"


def test_calls_are_chosen_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--shape", "4-6-5x4", "--dtype", "bfloat16", "--call", "^subm_conv2d", "--profiled")
    run(monkeypatch, *given)
    assert capsys.readouterr().out.splitlines()[-1].endswith(": 6 calls ran")
    with pytest.raises(SystemExit, match="no call's name has 'nosuch'"):
        run(monkeypatch, "--call", "nosuch")


def test_a_shape_is_read_from_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch.read_shape("128-256-12x12") == Shape(128, 256, 12, 12)
    with pytest.raises(SystemExit):
        run(monkeypatch, "--shape", "12x12")
    assert "wanted a shape as 128-256-12x12, got '12x12'" in capsys.readouterr().err
