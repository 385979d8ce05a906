from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.environment import ROOT
from benchmarks.gpu.checks import Checks, Deadline, gpu_tests


def checks(folder: Path, seconds: float = 60.0) -> Checks:
    return Checks(folder, True, Deadline(seconds))


def test_tests_marked_gpu_are_found() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in gpu_tests(("tests/mesm_ops",))}
    assert "tests/mesm_ops/test_gpu.py" in found
    assert "tests/mesm_ops/test_eager.py" not in found


def test_a_failing_step_is_named_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = checks(tmp_path)
    command = [sys.executable, "-c", "print('said'); raise SystemExit(3)"]
    monkeypatch.setattr(Checks, "_build", lambda self: self._command("build", command))
    assert not made.run("build", "device")
    assert made.problems == {"build": "exit code 3; build.log"}
    assert (tmp_path / "build.log").read_text() == "said\n"
    assert "   said" in capsys.readouterr().out


@pytest.mark.parametrize("code", [0, 1])
def test_tests_at_fault_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
) -> None:
    lines = [*(f"FAILED test {i}" for i in range(50)), *(f"line {i}" for i in range(20))]
    command = [sys.executable, "-c", f"print({chr(10).join(lines)!r}); raise SystemExit({code})"]
    monkeypatch.setattr(Checks, "_tests", lambda self: self._command("tests", command))
    assert checks(tmp_path).run("tests") == (code == 0)
    said = capsys.readouterr().out
    assert said.count("   FAILED test") == 30 * code
    assert said.count("   line") == 6


def test_a_step_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = checks(tmp_path, seconds=0.5)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(Checks, "_build", lambda self: self._command("build", command))
    assert not made.run("build")
    assert "not done after" in made.problems["build"]
    late = checks(tmp_path, seconds=0.0)
    assert not late.run("sanitizer")
    assert late.problems == {"sanitizer": "no time left"}
