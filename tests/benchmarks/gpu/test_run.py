"""`make gpu` on a machine without a GPU: it says so, and rehearses all but the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.environment import ROOT
from benchmarks.gpu.plan import rows, setting_of
from benchmarks.gpu.run import main


def run(*arguments: str, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu.run", "--out", str(out), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_without_a_gpu_it_says_so_and_fails(tmp_path: Path) -> None:
    done = run(out=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: device: torch finds no CUDA device")
    assert "CUDA device" not in done.stdout  # told once
    assert "== device: failed" in done.stdout
    assert "== build" not in done.stdout  # nothing else was tried


def test_a_rehearsal_does_all_but_the_build_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    done = run("--rehearse", "--skip-build", out=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in ("device", "tests", "sanitizer"):
        assert f"== {step}: done" in done.stdout
    assert "calls ran" in (tmp_path / "sanitizer.log").read_text()
    assert (tmp_path / "bench.png").is_file()
    assert "Goals" in (tmp_path / "bench.txt").read_text()
    path = tmp_path / "bench.json"
    results = json.loads(path.read_text())
    assert results["finished"]
    assert results["problems"] == {}
    found = results["rows"]
    wanted = {row.name for row in rows(setting_of("cpu", tmp_path, small=True))}
    assert {row["row"] for row in found} == wanted
    assert not [row for row in found if "error" in row]
    # One rival was compiled, by the process that timed it.
    (compiled,) = (row for row in found if "compiled" in row.get("rivals_ms", {}))
    assert (compiled["what"], compiled["dtype"]) == ("block inference", "float32")
    assert compiled["notes"]["compiled"].startswith("mode default, compiled in")
    assert "mesm_ops._C" not in str(results["machine"]["backends"])

    left = found.pop(0)["row"]
    path.write_text(json.dumps(results))
    done = run("--rehearse", "--skip-build", "--skip-tests", "--no-compile", out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[1/1, " in done.stdout
    assert left in {row["row"] for row in json.loads(path.read_text())["rows"]}


def test_rows_are_listed_and_a_pattern_that_fits_none_is_refused(tmp_path: Path) -> None:
    listed = run("--list", "--only", "MESM inference 64 clips p=0.5", out=tmp_path)
    assert listed.stdout.splitlines()[0] == "MESM inference 64 clips p=0.5 bfloat16"
    refused = run("--only", "nosuch", out=tmp_path)
    assert refused.returncode == 2
    assert "fits the name of no row" in refused.stderr


def test_a_convolution_s_density_is_named(tmp_path: Path) -> None:
    listed = run("--list", "--only", "convolutions op", out=tmp_path).stdout.splitlines()
    assert "convolutions op 64→128 @ 24x24 density=0.5 bfloat16" in listed


def test_without_time_every_row_is_missing(tmp_path: Path) -> None:
    given = ("--rehearse", "--skip-build", "--skip-tests", "--no-compile", "--only", "ceilings")
    done = run(*given, "--seconds", "1", out=tmp_path)
    assert "ceilings: no time was left" in done.stdout
    assert not json.loads((tmp_path / "bench.json").read_text())["finished"]


def test_ctrl_c_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["run", "--rehearse", "--out", str(tmp_path)])
    monkeypatch.setattr(os, "environ", dict(os.environ))  # is changed for later processes
    monkeypatch.setattr("benchmarks.gpu.run.Checks.run", interrupted)
    assert main() == 130
    said = "stopped; what was measured is kept, and the same command goes on\n"
    assert capsys.readouterr() == ("", said)
