"""The child process by itself."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesm.config.files import load_config
from mesm.experiment.worker import work
from mesm.runs.checkpoints import read_progress
from mesm.runs.folder import RunFolder


def order(corpus: Path, run: Path, small: list[str]) -> dict:
    changes = [*small, f"corpus={corpus}", "model.modalities=t", "training.epochs=1"]
    config = load_config("miniature_fe2e", changes)
    values = config.model_dump(mode="json")
    return {"config": values, "run": str(run), "splits": ["test"], "threads": 1}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_trains_and_scores_once(tiny_corpus, run, small):
    work(order(tiny_corpus, run, small))
    assert read_progress(RunFolder(run)).finished
    assert json.loads((run / "evaluation.json").read_text()).keys() == {"test"}
    before = (run / "evaluation.json").stat().st_mtime_ns
    work(order(tiny_corpus, run, small))
    assert (run / "evaluation.json").stat().st_mtime_ns == before


def test_waits_for_the_run_folder_and_ends_when_stdin_does(tiny_corpus, run, small):
    """While another process holds the folder nothing is written, and the parent's end ends it."""
    handle = os.open(run, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    process = subprocess.Popen(
        [sys.executable, "-m", "mesm.experiment.worker"],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order(tiny_corpus, run, small)).encode() + b"\n")
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.stdin.close()
        assert process.wait(60) == 1
    finally:
        os.close(handle)
        process.kill()
    assert list(run.iterdir()) == []


def test_an_error_becomes_one_line_and_its_traceback(tmp_path, run, small):
    text = json.dumps(order(tmp_path / "gone", run, small)) + "\n"
    process = subprocess.run(
        [sys.executable, "-m", "mesm.experiment.worker"],
        stdin=_pipe_kept_open(text),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        check=False,
    )
    assert process.returncode == 1
    lines = (run / "error.txt").read_text().splitlines()
    assert "gone is not a prepared corpus" in lines[0]
    assert lines[2].startswith("Traceback")


def _pipe_kept_open(text: str) -> int:
    read, write = os.pipe()
    os.write(write, text.encode())
    return read
