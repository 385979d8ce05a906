"""A sample of the campaign of faults: nothing that must not occur does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.base import Base
from tests.faults.jobs import difference
from tests.faults.judge import ended
from tests.faults.outcome import BAD, Outcome
from tests.faults.pool import run_all
from tests.faults.process import Result

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.early


@pytest.mark.timeout(420)
def test_a_sample_of_the_campaign(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.faults", "--short", "--json", str(file)]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [*command, "--jobs", "1"], cwd=ROOT, env=variables, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr[-2000:]
    inputs = json.loads(file.read_text())["inputs"]
    assert sum(sum(counts.values()) for counts in inputs.values()) > 300
    assert all(counts[verdict] == 0 for counts in inputs.values() for verdict in BAD)


@pytest.mark.parametrize(
    ("code", "killed", "err", "verdict"),
    [
        (0, 0, "bar 100%\n", None),
        (2, 0, "bar\nmesm: x.csv: no column\n", "refused"),
        (2, 0, "bar\nmesm: x.yaml: 2 problems:\n  one\n  two\n", "refused"),
        (2, 0, "train mesm: 50%\rtrain mesm: 60%\nmesm: x.csv: no column\n", "refused"),
        (2, 0, "Usage: mesm x\nInvalid value for --p\n╰──╯\n", "refused"),
        (2, 0, "bar 50%\rbar 60% mesm: x.csv: no column\n", "traceback"),
        (2, 0, "bar 50%\r       \rmesm: x.csv: no column\n", "refused"),
        (2, 0, "mesm: x.csv: no column\nbar 60%", "traceback"),
        (2, 0, "mesm: one\nmesm: two\n", "traceback"),
        (2, 0, "mesm: [Errno 28] No space left on device\n", "traceback"),
        (2, 0, "mesm: 2 validation errors for Manifest\n", "traceback"),
        (1, 0, "Traceback (most recent call last):\nKeyError: 'a'\n", "traceback"),
        (2, 0, "", "traceback"),
        (3, 0, "mesm: x\n", "traceback"),
        (-11, 11, "", "crashed"),
        (None, 0, "", "crashed"),
    ],
)
def test_the_judge(code: int | None, killed: int, err: str, verdict: str | None) -> None:
    found = ended(Result(("x",), code, killed, "", err))
    assert (None if found is None else found.verdict) == verdict


def test_a_state_that_differs_is_told() -> None:
    wanted = {"a": "1", "b": "2"}
    assert difference(wanted, dict(wanted)) is None
    assert difference(wanted, {"a": "1"}) == "missing: b"
    assert difference(wanted, {"a": "1", "b": "3"}) == "other: b"
    assert difference(wanted, wanted | {".b.partial": "4"}) == "left over: .b.partial"


def _one(kind: str, seed: int) -> Outcome:
    if kind == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "raises":
        raise KeyError(seed)
    return Outcome("right", f"{kind} {seed}")


def test_an_input_that_ends_its_process_is_counted_and_the_others_go_on() -> None:
    batch = [("fine", 1), ("dies", 2), ("fine", 3), ("raises", 4)]
    found = {seed: outcome.verdict for (_, seed), outcome in run_all([batch], _one, 1)}
    assert found == {1: "right", 2: "crashed", 3: "right", 4: "traceback"}


def test_a_copied_run_reads_the_copied_corpus(tmp_path: Path) -> None:
    run = tmp_path / "base/run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(f"corpus: {(tmp_path / 'base').resolve()}/prep\n")
    with Base(tmp_path / "base").sandbox("run") as folder:
        assert (folder / "run/config.yaml").read_text() == f"corpus: {folder.resolve()}/prep\n"
