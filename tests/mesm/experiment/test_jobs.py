"""Children: how many, what a run folder says of them, and what becomes of those that fail."""

import dataclasses
import io
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from mesm.config.files import load_config
from mesm.experiment import jobs as module
from mesm.experiment.display import Display
from mesm.experiment.jobs import Job, Resources, run_jobs
from mesm.runs.cluster import Cluster
from mesm.runs.folder import RunFolder
from mesm.training.check import check_run
from tests.mesm.stub_ray import RayError, WorkerCrashedError, stub_ray


def test_resources_of_a_machine_without_a_gpu(monkeypatch):
    monkeypatch.setattr(module.torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: set(range(6)))
    assert Resources.of_machine() == Resources(6, 1, [])
    assert Resources.of_machine(2) == Resources(2, 1, [])
    assert Resources.of_machine(threads=3) == Resources(2, 3, [])
    assert Resources.of_machine(threads=9) == Resources(1, 9, [])
    for arguments in ((0, None), (None, 0)):
        with pytest.raises(ValueError, match="must be at least 1, got 0"):
            Resources.of_machine(*arguments)


def test_resources_with_gpus(monkeypatch):
    monkeypatch.setattr(module.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert Resources.of_machine() == Resources(2, 8, ["0", "1"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-abc")
    four = Resources.of_machine(4)
    assert four == Resources(4, 4, ["3", "GPU-abc"])
    named = [four.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(4)]
    assert named == ["3", "GPU-abc", "3", "GPU-abc"]


@pytest.mark.parametrize(
    ("nodes", "given", "wanted"),
    [
        ([(1, 0), (1, 0)], (None, None), (2, 1)),
        ([(3, 0), (3, 0)], (None, 2), (2, 2)),  # 6 cores have no room for a third
        ([(4, 0), (2, 0)], (5, 3), (5, 3)),
        ([(64, 0), (8, 4)], (None, None), (4, 2)),
        ([(8, 4), (4, 4)], (None, None), (8, 1)),
    ],
)
def test_resources_of_a_cluster_are_those_of_its_nodes(nodes, given, wanted, monkeypatch):
    stub_ray(monkeypatch, [{"CPU": cores, "GPU": gpus} for cores, gpus in nodes], str)
    assert Resources.of_cluster(Cluster("a:1"), *given) == Resources(*wanted)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [([(1, 0), (1, 0)], "cores; the most are 1"), ([(9, 0), (1, 1)], "and a GPU; the most are 1")],
)
def test_threads_that_no_node_has_are_refused(nodes, said, monkeypatch):
    stub_ray(monkeypatch, [{"CPU": cores, "GPU": gpus} for cores, gpus in nodes], str)
    with pytest.raises(ValueError, match=rf"^--threads 2: no node of the cluster has .*{said}$"):
        Resources.of_cluster(Cluster("a:1"), threads=2)


@pytest.mark.parametrize("died", [WorkerCrashedError, RayError])
def test_a_worker_or_node_that_dies_while_jobs_wait(died, tmp_path, monkeypatch):
    deaths = iter([died()])

    def ended(unit):
        for death in deaths if unit[0].name == "a" else ():
            raise death
        return "nothing here"

    stub_ray(monkeypatch, [{"CPU": 2}], ended)
    config = load_config("miniature_fe2e")
    jobs = [Job(name, config, RunFolder(tmp_path / name), ["test"]) for name in "abcd"]
    shown = Display(total=4, finished=0, epochs=9, before=0, jobs=2, stream=io.StringIO())
    failures = run_jobs(jobs, Resources(2, 1), shown, Cluster("a:1"))
    assert failures == dict.fromkeys("abcd", "nothing here")
    lines = [line.partition("] ")[2] for line in shown.stream.getvalue().splitlines()]
    epochs = f"{config.training.epochs} epochs"
    assert lines.count(f"a: {epochs}") == 2
    assert lines[:3] == [f"a: {epochs}", f"b: {epochs}", "a: its worker or node died; it waits"]
    assert sorted(lines[3:]) == sorted(
        [f"{name}: {epochs}" for name in "acd"]
        + [f"{name}: failed: nothing here" for name in "abcd"]
    )


def test_environment_of_a_child(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    environment = Resources(1, 2).environment(0)
    assert "WORLD_SIZE" not in environment
    assert environment["OMP_NUM_THREADS"] == "2"


def job(run: Path, *splits: str) -> Job:
    config = load_config(run / "config.yaml")
    return Job(run.name, config, RunFolder(run), splits or ("test",))


@pytest.fixture
def trained(tiny_fe2e: Path, tmp_path: Path) -> Path:
    """A copy of a finished, scored run."""
    return shutil.copytree(tiny_fe2e, tmp_path / "run")


def test_state_comes_from_the_run_folder(trained):
    assert job(trained).done()
    assert job(trained).state() == "done"
    assert job(trained, "test", "valid").unscored() == ["valid"]
    assert job(trained, "test", "valid").state() == "trained, not scored"
    state = trained / "last" / "state.json"
    values = json.loads(state.read_text())
    earlier = {"finished": None, "epoch": 1, "best_epoch": 1, "history": values["history"][:1]}
    state.write_text(json.dumps(values | earlier))
    assert not job(trained).trained()
    assert job(trained).state() == "epoch 1 of 2"
    (trained / "error.txt").write_text("no memory\n\nTraceback")
    assert job(trained).state() == "failed: no memory"


def test_scores_older_than_the_weights_do_not_count(trained):
    file = trained / "evaluation.json"
    before = (trained / "model.safetensors").stat().st_mtime_ns - 1
    os.utime(file, ns=(before, before))
    assert job(trained).unscored() == ["test"]
    file.write_text("{")
    assert job(trained).unscored() == ["test"]
    file.unlink()
    assert job(trained).unscored() == ["test"]


def test_a_new_folder_is_new(trained, tmp_path):
    new = dataclasses.replace(job(trained), folder=RunFolder(tmp_path / "new"))
    assert (new.state(), new.epochs_done(), new.done()) == ("new", 0, False)


def display() -> Display:
    return Display(total=9, finished=0, epochs=9, before=0, jobs=9, stream=io.StringIO())


def test_a_failing_job_leaves_its_error_and_the_others_go_on(trained, tmp_path):
    good = job(trained, "test", "valid")
    bad_config = load_config(trained / "config.yaml", [f"corpus={tmp_path / 'gone'}"])
    bad = Job("bad", bad_config, RunFolder(tmp_path / "bad"), ["test"])
    failures = run_jobs([bad, good], Resources(2, 1), display())
    assert failures.keys() == {"bad"}
    assert "gone is not a prepared corpus" in failures["bad"]
    text = (tmp_path / "bad" / "error.txt").read_text()
    assert text.splitlines()[0] == failures["bad"]
    assert "Traceback" in text
    assert good.done()
    # The remains of the first try do not stop a second one.
    check_run(bad.config, bad.folder)
    # Scored, not trained again.
    assert (trained / "model.safetensors").stat().st_mtime_ns < time.time_ns() - 10**9


def test_a_killed_child_is_told_apart(trained, monkeypatch):
    lone = job(trained, "valid")
    script = "import os, signal; print('so far'); os.kill(os.getpid(), signal.SIGKILL)"
    original = module.subprocess.Popen

    def popen(command, **keywords):
        return original([command[0], "-u", "-c", script], **keywords)

    monkeypatch.setattr(module.subprocess, "Popen", popen)
    failures = run_jobs([lone], Resources(1, 1), display())
    assert failures == {lone.name: "the process was ended by SIGKILL: out of memory?"}
    assert "so far" in (trained / "error.txt").read_text()


def test_ending_with_0_but_without_a_run_is_a_failure(trained, monkeypatch):
    lone = job(trained, "valid")
    original = module.subprocess.Popen
    monkeypatch.setattr(
        module.subprocess, "Popen", lambda command, **kw: original([command[0], "-c", ""], **kw)
    )
    (message,) = run_jobs([lone], Resources(1, 1), display()).values()
    assert message == "the process ended with status 0 and left no finished run"


def test_an_exception_here_ends_the_children(trained, monkeypatch):
    lone = job(trained, "valid")
    started = []
    original = module.subprocess.Popen

    def popen(command, **keywords):
        process = original([command[0], "-c", "import time; time.sleep(600)"], **keywords)
        started.append(process)
        return process

    monkeypatch.setattr(module.subprocess, "Popen", popen)

    def interrupt():
        raise KeyboardInterrupt  # SIGINT itself may be ignored where tests run in the background

    shown = display()
    monkeypatch.setattr(shown, "refresh", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_jobs([lone], Resources(1, 1), shown)
    assert [process.returncode for process in started] == [-signal.SIGKILL]
