"""An experiment from the file to the scores, killed on its way too."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from mesm.cli import app
from mesm.experiment import run as module
from mesm.experiment import run_experiment
from mesm.runs.checkpoints import read_progress
from mesm.runs.files import locked
from mesm.runs.folder import RunFolder

pytestmark = pytest.mark.early

CELLS = ["miniature_fe2e--seed-0", "miniature_mesm--seed-0", "miniature_mesm--p-0.3--seed-0"]


def digests(out: Path) -> dict[str, str]:
    """Digests of all weights and scores of an experiment."""
    names = ("model.safetensors", "last/optimizer.safetensors", "evaluation.json", "config.yaml")
    return {
        f"{cell}/{name}": hashlib.sha256((out / "runs" / cell / name).read_bytes()).hexdigest()
        for cell in CELLS
        for name in names
    }


@pytest.fixture(scope="module")
def whole(tiny_experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment nobody disturbed, two cells at a time."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run_experiment(tiny_experiment, out, jobs=2) == {}
    return out


def test_every_cell_is_trained_and_scored_once(whole):
    assert sorted(path.name for path in (whole / "runs").iterdir()) == sorted(CELLS)
    for cell in CELLS:
        folder = RunFolder(whole / "runs" / cell)
        assert read_progress(folder).finished == "all 4 epochs done"
        assert json.loads(folder.evaluation.read_text()).keys() == {"test", "valid"}
        assert not folder.error.exists()
    plan = json.loads((whole / "experiment.json").read_text())
    assert plan["groups"] == {"results": CELLS[:2], "p_curve": CELLS[1:]}
    assert list(plan["cells"]) == CELLS


def test_what_is_done_is_skipped(whole, tiny_experiment, monkeypatch, capsys):
    monkeypatch.setattr(module, "run_jobs", None)
    before = digests(whole)
    assert run_experiment(tiny_experiment, whole) == {}
    assert digests(whole) == before
    assert capsys.readouterr().out == f"{whole}: 3 of 3 cells are done\n"


def test_dry_run_says_how_far_it_is_and_writes_nothing(whole, tiny_experiment, tmp_path, capsys):
    run_experiment(tiny_experiment, whole, only="results", dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{CELLS[0]}  [results]  done",
        f"{CELLS[1]}  [results, p_curve]  done",
        "2 cells, 2 done; nothing was started",
    ]
    run_experiment(tiny_experiment, tmp_path / "new", dry_run=True)
    assert "3 cells, 0 done" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_teachers_are_trained_before_those_they_teach(tiny_experiment, tmp_path):
    values = yaml.safe_load(tiny_experiment.read_text())
    pupil = {"configs": ["miniature_mesm"], "teacher": "miniature_fe2e"}
    values["grids"] = {"taught": [pupil, {"configs": ["miniature_fe2e"]}]}
    values["overrides"] += ["training.epochs=1"]
    file, out = tmp_path / "taught.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(values))
    assert run_experiment(file, out, jobs=2) == {}
    (folder,) = (out / "runs").glob("miniature_mesm*")
    kept = json.loads((folder / "teacher.json").read_text())
    teacher = out / "runs/miniature_fe2e--seed-0"
    assert kept["run"] == str(teacher)
    weights = (teacher / "model.safetensors").read_bytes()
    assert kept["weights"] == hashlib.sha256(weights).hexdigest()


def test_sigkill_of_the_parent_and_the_same_command(whole, tiny_experiment, tmp_path):
    """The children end too, and in the end all weights are those of an undisturbed experiment."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mesm", "experiment", str(tiny_experiment)),
            *("--out", str(out), "--jobs", "1"),
        ],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = RunFolder(out / "runs" / CELLS[0])
    deadline = time.monotonic() + 240
    while not (folder.last / "state.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline, "no epoch was finished"
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    progress = read_progress(folder)
    assert progress.epoch >= 1
    assert not progress.finished
    records = folder.metrics.read_text().splitlines()
    assert run_experiment(tiny_experiment, out, jobs=2) == {}
    assert digests(out) == digests(whole)
    # The epochs that were finished were not trained again: their times stand as they were.
    after = folder.metrics.read_text().splitlines()
    assert after[: progress.epoch] == records[: progress.epoch]


def test_a_failing_cell_is_told_and_the_status_is_not_0(tiny_experiment, whole, tmp_path):
    """So large a learning rate makes the loss no number; the other cell is done."""
    values = yaml.safe_load(tiny_experiment.read_text())
    values["overrides"] += ["training.epochs=1"]
    values["grids"] = {
        "a": {
            "configs": ["miniature_fe2e"],
            "vary": {"training.learning_rate": [1.0e20, 0.003], "model.modalities": ["t"]},
            "overrides": ["training.gradient_clip=null", "training.warmup_steps=0"],
        }
    }
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(values))
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["experiment", str(file), "--out", str(out)])
    assert result.exit_code == 1, result.output
    (bad,) = [path for path in (out / "runs").iterdir() if (path / "error.txt").exists()]
    assert "learning_rate-1e" in bad.name
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("mesm: ")]
    assert line.startswith(f"mesm: {bad.name} failed: epoch 1: the loss is")
    assert line.endswith((bad / "error.txt").read_text().splitlines()[0])
    assert f"{out}: 1 of 2 cells are done" in result.output


def test_two_on_one_folder_refuse_each_other(whole, tiny_experiment):
    with (
        locked(whole, "training in"),
        pytest.raises(ValueError, match=r"another process is training in .*out"),
    ):
        run_experiment(tiny_experiment, whole)
    assert run_experiment(tiny_experiment, whole) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.epoch=3"], "did you mean training.epochs"),
        (["training.epochs=5"], r"other settings: training\.epochs \(4, now 5\)"),
        (["corpus=gone"], "gone is not a prepared corpus"),
    ],
)
def test_refusals_start_and_write_nothing(changes, message, whole, tiny_experiment, monkeypatch):
    monkeypatch.setattr(module, "run_jobs", None)
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    with pytest.raises(ValueError, match=message):
        run_experiment(tiny_experiment, whole, changes)
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_ctrl_c_says_how_to_go_on(tiny_experiment, tmp_path, monkeypatch, capsys):
    def run_jobs(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_jobs", run_jobs)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(tiny_experiment, tmp_path / "out")
    assert "stopped; the same command goes on" in capsys.readouterr().err
    # The lock is gone.
    with locked(tmp_path / "out", "training in"):
        pass


def test_refuses_a_folder_of_something_else(tiny_experiment, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"holds letter\.txt but no experiment\.json"):
        run_experiment(tiny_experiment, tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        run_experiment(tiny_experiment, tmp_path / "letter.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
