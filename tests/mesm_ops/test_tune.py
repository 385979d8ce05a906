"""`python -m mesm_ops.tune` without a GPU: its processes, its file, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from mesm_ops import tune as module
from mesm_ops.triton.parts import choice

GPU = "Some GPU"


def row(us: float, hopper: bool, **others: Any) -> module.Row:
    made = {"kernel": "convolution", "itemsize": 2, "transposed": False, "cin": 64, "cout": 128}
    return made | {"hopper": hopper, "us": us} | others


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A GPU by name, and a cache folder that is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: GPU)
    return tmp_path / "cache" / "mesm_ops" / "some-gpu.json"


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The program that measures; its last arguments are the kind and shapes."""
    program = tmp_path / "measure.py"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$4"\n')
    python.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(python))
    return program


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["tune", *arguments])
    module.main()


def test_the_fastest_kernel_of_each_product_is_written(gpu: Path) -> None:
    rows = [
        row(9.0, False),
        row(5.04, True),
        row(3.0, True, transposed=True),
        row(2.0, False, transposed=True),
        row(7.0, False, kernel="weight_gradient"),
    ]
    module.write_table(rows, gpu)
    table = choice._read(gpu, "some-gpu")
    assert table["gpu"] == GPU
    assert choice.triton.__version__.startswith(table["triton"])
    assert [(r["transposed"], r["hopper"], r["us"]) for r in table["convolution"]] == [
        (False, True, 5.0),
        (True, False, 2.0),
    ]
    assert [r["hopper"] for r in table["weight_gradient"]] == [False]
    assert [file.name for file in gpu.parent.iterdir()] == [gpu.name]


def test_what_was_written_is_what_is_chosen(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "triton_interprets", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    choice._choose.cache_clear()
    choice._table.cache_clear()
    module.write_table([row(9.0, False), row(5.0, True)], gpu)
    asked = (torch.device("cuda", 0), torch.bfloat16, 64, 128, False, False)
    assert choice._choose("convolution", *asked).hopper
    choice._choose.cache_clear()
    choice._table.cache_clear()


def test_a_write_that_fails_leaves_the_file_and_nothing_beside(
    gpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.write_table([row(9.0, False)], gpu)
    before = gpu.read_text()

    def full(self: Path, target: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        module.write_table([row(1.0, True)], gpu)
    assert gpu.read_text() == before
    assert list(gpu.parent.iterdir()) == [gpu]
    with pytest.raises(ValueError, match="no kernel was measured"):
        module.write_table([], gpu)


def test_a_process_that_crashes_or_never_ends_loses_its_further_rows(
    measuring: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.5)
    first = {kind: json.dumps(row(9.0, kind == "hopper")) for kind in ("plain", "hopper")}
    measuring.write_text(
        "import sys, time\n"
        f"print({first}[sys.argv[1]], flush=True)\n"
        "time.sleep(600) if sys.argv[1] == 'plain' else sys.exit(3)\n"
    )
    found = module.tune(("64x128",))
    assert [one["hopper"] for one in found] == [False, True]
    said = capsys.readouterr().out
    assert "plain: stopped after 0 s without a row" in said
    assert "hopper: ended with status 3" in said
    assert "convolution 64→128, 16 bits, plain: 9.0 µs" in said


def test_ctrl_c_is_one_line_and_ends_the_process_that_measures(
    gpu: Path,
    measuring: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    measuring.write_text(
        "import os, pathlib, signal, time\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "assert os.getsid(0) == os.getpid()\n"  # so a terminal's Ctrl-C does not reach it
        f"print({json.dumps(row(4.0, False))!r}, flush=True)\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "time.sleep(600)\n"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            started(monkeypatch)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    assert capsys.readouterr().err == f"stopped; {gpu} stays as it was\n"
    assert not gpu.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_it_writes_to_the_cache_folder_or_where_it_is_told(
    gpu: Path, measuring: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measuring.write_text(f"print({json.dumps(row(4.0, False))!r})\n")
    started(monkeypatch)
    assert json.loads(gpu.read_text())["convolution"][0]["us"] == 4.0
    gpu.unlink()
    started(monkeypatch, "--out", str(tmp_path / "own" / "table.json"))
    assert (tmp_path / "own" / "table.json").exists()
    assert not gpu.exists()


def test_nothing_measured_leaves_the_file(
    gpu: Path,
    measuring: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module.write_table([row(9.0, False)], gpu)
    before = gpu.read_text()
    measuring.write_text("raise SystemExit(1)\n")
    with pytest.raises(SystemExit) as ended:
        started(monkeypatch)
    assert ended.value.code == 1
    assert f"no kernel was measured; {gpu} stays as it was" in capsys.readouterr().err
    assert gpu.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shapes", "64"], "a shape is CINxCOUT, as 64x128, got '64'"),
        (["--shapes", "64x0"], "got '64x0'"),
        (["--shapes", "64x-1"], "got '64x-1'"),
        (["--out", "/dev/null/table.json"], "the table cannot be written: "),
        (["--out", "/"], "--out must be a file, got the folder /"),
    ],
)
@pytest.mark.usefixtures("gpu")
def test_bad_arguments_are_refused_before_anything_is_measured(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "tune", lambda shapes: pytest.fail("it measures"))
    with pytest.raises(SystemExit) as ended:
        started(monkeypatch, *arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        started(monkeypatch)
    assert "no GPU: torch.cuda.is_available() is False" in capsys.readouterr().err
