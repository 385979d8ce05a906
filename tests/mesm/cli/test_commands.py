import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mesm.cli import app
from mesm.corpora.miniature.emotions import LAYOUTS
from mesm.runs.extras import install


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_names_every_command():
    shown = run("--help").output
    for command in (
        "miniature",
        "prepare",
        "train",
        "evaluate",
        "sweep",
        "table",
        "explain",
        "report",
    ):
        assert command in shown
    assert "experiment" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "iemocap", "{tmp}", "{tmp}/out"), "IEMOCAP_full_release"),
        (("prepare", "mosei", "{tmp}/nowhere", "{tmp}/out"), "nowhere"),
        (("prepare", "meld", "{tmp}", "{tmp}/out", "--song"), "which is for ravdess"),
        (("prepare", "mosei", "{tmp}", "{tmp}/out", "--labels", "rated"), "without --labels"),
        (("prepare", "crema_d", "{tmp}", "{tmp}/out", "--labels", "mine"), "intended, rated, got"),
        (("prepare", "ravdess", "{tmp}", "{tmp}/out", "--song"), "wanted files such as 01-01-06"),
        (("prepare", "ravdess", "{tmp}", "{tmp}/out", "--split", "half"), "'column'"),
        (("train", "miniature_mesm", "corpus={tmp}/none", "--run", "{tmp}/out"), "none"),
        (("train", "miniature_mesm", "model.q=1", "--run", "{tmp}/out"), "model.q"),
        (("train", "miniature_mesm", "model.p=1.5", "--run", "{tmp}/out"), "model.p"),
        (("evaluate", "{tmp}/out"), "out"),
        (("evaluate", "{tmp}/out", "--against", "{tmp}/none"), "out"),
        (("evaluate", "{tmp}/out", "--draws", 0), "wanted at least 1, got 0"),
        (("evaluate", "{tmp}/out", "--query", "others"), "'others' is not one of 'own', 'other'"),
        (("evaluate", "{tmp}/a", "--against", "{tmp}/b", "--query", "other"), "leave --query out"),
        (("sweep", "{tmp}/out", "--p", "0:1:0.1"), "p"),
        (("sweep", "{tmp}/out", "--retrain"), "out"),
        (("sweep", "{tmp}/out", "--jobs", 2), "--retrain only"),
        (("experiment", "nothing", "--out", "{tmp}/out"), "shipped are demo"),
        (("experiment", "smoke", "corpus={tmp}/none", "--out", "{tmp}/out"), "none"),
        (("experiment", "smoke", "--jobs", 0, "--out", "{tmp}/out"), "--jobs"),
        (("experiment", "smoke", "--only", "x", "--out", "{tmp}/out"), "--only x"),
        (("sweep", "{tmp}/out", "--p", ""), "p must be first:last:step"),
        (("sweep", "{tmp}/out", "--budget", "half"), "budget must be shares"),
        (("sweep", "{tmp}/out", "--budget", "0.5", "--p", "0.5"), "leave --p out"),
        (("explain", "{tmp}/out"), "out"),
        (("report", "{tmp}/out", "{tmp}/none"), "none"),
        (("miniature", "{tmp}/out", "--clips", 0), "clips"),
        (("miniature", "{tmp}/out", "--variant", "when"), "is not one of 'hints', 'where'"),
        (("miniature", "{tmp}/out", "--layout", "savee"), f"is not one of {str(LAYOUTS)[1:-1]}"),
        (
            ("miniature", "{tmp}/out", "--layout", "crema_d", "--variant", "where"),
            "variant where does not fit layout crema_d",
        ),
        (("table", "results", "{tmp}/none", "--out", "{tmp}/out"), "none"),
        (("table", "splits", "{tmp}/none", "--out", "{tmp}/out"), "mesm prepare"),
        (("table", "ablation", "{tmp}", "--out", "{tmp}/out"), "mesm train"),
        (("table", "sweep", "{tmp}", "--out", "{tmp}/out"), "mesm sweep"),
        (("table", "runs", "{tmp}", "--by", "model.p", "--out", "{tmp}/out"), "mesm train"),
    ],
)
def test_refuses_in_one_line_and_writes_nothing(tmp_path, arguments, message):
    filled = [str(argument).replace("{tmp}", str(tmp_path)) for argument in arguments]
    result = run(*filled)
    assert result.exit_code == 2
    lines = result.output.strip().splitlines()
    assert lines[-1].startswith("mesm: ")
    assert message in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_evaluate_draws_the_confusion_where_clips_have_one_emotion(
    single_mesm, tiny_mesm, tmp_path
):
    single, several = (
        shutil.copytree(folder, tmp_path / name)
        for folder, name in ((single_mesm, "single"), (tiny_mesm, "several"))
    )
    result = run("evaluate", single, "--draws", 20, "--cluster", "dialog")
    assert result.exit_code == 0
    for picture in ("confusion/test.png", "reliability/test.png"):
        assert str(single / picture) in result.output.replace("\n", "")
        assert (single / picture).is_file()
    refusal = run("evaluate", single, "--threshold", "0.5")
    assert refusal.exit_code == 2
    assert "no effect" in refusal.output
    assert "confusion" not in run("evaluate", several, "--draws", 20).output
    assert not (several / "confusion").exists()


def test_evaluate_passes_its_options(tiny_mesm, tiny_fe2e, tmp_path):
    first = shutil.copytree(tiny_mesm, tmp_path / "mesm")
    second = shutil.copytree(tiny_fe2e, tmp_path / "fe2e")
    chosen = ("--split", "valid", "--threshold", "0.5", "--f1", "weighted", "--draws", 20)
    result = run("evaluate", first, *chosen, "--cluster", "dialog")
    assert result.exit_code == 0
    assert "on the valid split" in result.output
    assert "threshold: 0.5; F1: weighted" in result.output
    assert "over 1 dialogs, 20 draws" in result.output
    assert "branch alone" in result.output
    assert "temperature, fitted to 6 valid clips" in result.output
    picture = first / "reliability" / "valid.png"
    assert result.output.splitlines()[-1] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    result = run("evaluate", first, *chosen, "--against", second)
    assert result.exit_code == 0
    assert "valid split, 6 clips, percentage points" in result.output
    assert "threshold: 0.5; F1: weighted" in result.output
    assert "paired percentile bootstrap over 6 clips, 20 draws" in result.output
    assert run("evaluate", first, "--threshold", "0.4").exit_code == 2
    assert run("evaluate", first, "--f1", "macro").exit_code == 2


def test_sweep_shows_its_points_and_names_its_files(tiny_mesm, tiny_fe2e, tmp_path):
    folder = shutil.copytree(tiny_mesm, tmp_path / "mesm")
    result = run("sweep", folder, "--p", "0.1,0.5", "--baseline", tiny_fe2e)
    assert result.exit_code == 0
    content = json.loads((folder / "sweep.json").read_text())
    title, head, *rows, files = result.stdout.splitlines()
    assert title == "mesm: test split, 7 clips; one training"
    assert head.split()[:5] == ["p", "Acc", "F1", "GFLOP/clip", "ms/clip"]
    assert "face sites, %" in head
    named = [*(f"{point['p']:g}" for point in content["points"]), f"FE2E, {tiny_fe2e.name}"]
    points = [*content["points"], content["baseline"]]
    for row, name, point in zip(rows, named, points, strict=True):
        assert row.startswith(name)
        accuracy, f1, gflop = row.removeprefix(name).split()[:3]
        assert accuracy == f"{100 * point['average']['accuracy']:.1f}"
        assert f1 == f"{100 * point['average']['f1']:.1f}"
        assert float(gflop) == pytest.approx(point["flops_per_clip"]["total"] / 1e9, rel=1e-3)
    assert rows[-1].split()[-2:] == ["–", "–"]
    assert files == f"{folder / 'sweep.json'}, {folder / 'sweep.png'}"


def test_explain_names_the_files_that_it_wrote(tiny_mesm, tiny_corpus, tmp_path):
    folder = shutil.copytree(tiny_mesm, tmp_path / "mesm")
    before = {file for file in folder.rglob("*") if file.is_file()}
    result = run("explain", folder, "--ground-truth", tiny_corpus / "ground_truth.jsonl")
    assert result.exit_code == 0
    written = {str(file) for file in folder.rglob("*") if file.is_file() and file not in before}
    assert sorted(result.stdout.splitlines()) == sorted(written)


@pytest.mark.parametrize(
    ("command", "default"), [("train", "runs/CONFIG"), ("experiment", "experiments/CONFIG")]
)
def test_help_tells_the_folder_that_is_taken(command, default):
    assert default in run(command, "--help").output


@pytest.mark.parametrize(
    ("package", "run_it"),
    [
        ("typer", "runpy.run_module('mesm', run_name='__main__')"),
        ("typer", "importlib.import_module('mesm.__main__').main()"),
        ("yaml", "runpy.run_module('mesm', run_name='__main__')"),  # which a command imports late
    ],
)
def test_a_missing_package_is_named_with_how_to_install_it(package, run_it):
    program = (
        f"import importlib, runpy, sys; sys.modules[{package!r}] = None; "
        f"sys.argv = ['mesm', 'train', 'miniature_mesm', 'model.p=2']; {run_it}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"mesm: the package {package} is missing; install what the experiment needs: "
        f"{install('experiment')}\n"
    )
