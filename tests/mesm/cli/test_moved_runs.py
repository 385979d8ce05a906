"""Every command on a run whose corpus was moved: refused with the places, or told with --corpus."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesm.analysis.retrain import _plan
from mesm.cli import app
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.corpus_folder import write_place
from mesm.evaluation.run import Run
from mesm.runs.folder import RunFolder

READING = {
    "evaluate": "evaluate RUN --draws 5",
    "another query": "evaluate RUN --draws 5 --query other",
    "comparison": "evaluate RUN --against BASE --draws 5",
    "sweep": "sweep RUN --p 0.5 --baseline BASE",
    "budget": "sweep RUN --budget 0.6",
    "explain": "explain RUN test_003",
    "report": "report OUT/page.html RUN BASE",
    "verify": "verify RUN",
    "results": "table results RUN BASE --out OUT",
    "ablation": "table ablation RUN --out OUT",
    "runs": "table runs RUN --by model.p --out OUT",
}


def called(command: str, project: Path, *more: object) -> Any:
    places = {"RUN": project / "mesm", "BASE": project / "fe2e", "OUT": project / "out"}
    words = command.split()
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    return CliRunner().invoke(app, [*words, *map(str, more)])


@pytest.fixture
def project(tiny_corpus: Path, tiny_mesm: Path, tiny_fe2e: Path, tmp_path: Path) -> Path:
    """Two runs on a corpus beside them, as if all had been made there."""
    folder = tmp_path / "project"
    corpus = shutil.copytree(tiny_corpus, folder / "corpus")
    for run in (tiny_mesm, tiny_fe2e):
        copy = RunFolder(shutil.copytree(run, folder / run.name))
        write_place(corpus, PreparedCorpus.open(corpus), copy)
        config = copy.config.read_text().replace(str(tiny_corpus), str(corpus))
        copy.config.write_text(config)
    return folder


def test_moved_together_commands_work_from_any_folder_and_predict_nothing_anew(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert called(READING["evaluate"], project).exit_code == 0
    before = (project / "mesm/evaluation.json").read_bytes()
    renamed = project.rename(tmp_path / "renamed")
    monkeypatch.chdir(renamed / "mesm")
    monkeypatch.setattr(Run, "_predict", lambda *_: pytest.fail("predicted anew"))
    for run in ("../mesm", ".", os.fspath(renamed / "mesm")):
        done = CliRunner().invoke(app, ["evaluate", run, "--draws", "5"])
        assert done.exit_code == 0, done.output
    assert (renamed / "mesm/evaluation.json").read_bytes() == before
    done = CliRunner().invoke(app, ["verify", "."])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", READING.values(), ids=READING)
def test_moved_apart(command: str, project: Path, tmp_path: Path) -> None:
    moved = (project / "corpus").rename(tmp_path / "moved")
    run = (project / "mesm").rename(tmp_path / "elsewhere")
    (project / "mesm").symlink_to(run)
    done = called(command, project)
    assert done.exit_code in (1, 2)
    said = done.output
    assert "its corpus is not there" in said
    assert str(project / "corpus") in said
    if "verify" not in command:
        assert said.splitlines()[-1].startswith("mesm: ")
    assert not (project / "out").exists()
    done = called(command, project, "--corpus", moved)
    assert done.exit_code == 0, done.output
    other = shutil.copytree(moved, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"spectrogram_mean": -5.0}))
    done = called(command, project, "--corpus", other)
    if command.startswith("table"):  # which looks for a corpus of this content among those given
        assert "its corpus is not there" in done.output
    else:
        assert f"was trained on another corpus than {other} is now" in done.output
    assert done.exit_code in (1, 2)


def test_the_table_of_a_sweep_takes_the_corpus_too(project: Path, tmp_path: Path) -> None:
    assert called(READING["sweep"], project).exit_code == 0
    moved = (project / "corpus").rename(tmp_path / "moved")
    for more in ((), ("--corpus", moved)):
        done = called("table sweep RUN --out OUT", project, *more)
        assert done.exit_code == 0, done.output
        assert "FE2E, beside MESM" in done.output


def test_verify_of_a_corpus_takes_no_corpus(project: Path) -> None:
    done = called(f"verify {project / 'corpus'}", project, "--corpus", project)
    assert done.exit_code == 2
    assert "is no run, so --corpus would have no effect; leave it out" in done.output


def test_the_run_itself_counts_for_its_p_wherever_its_corpus_lies(
    project: Path, tmp_path: Path
) -> None:
    moved = (project / "corpus").rename(tmp_path / "moved")
    twin = shutil.copytree(project / "mesm", tmp_path / "twin")
    plan = _plan(project / "mesm", [0.5, 0.7], "test", [twin], moved)
    assert plan.finished == {0.5: project / "mesm"}
    assert list(plan.jobs) == [0.7]
    assert plan.jobs[0.7].config.corpus == moved


# Ids of CMU-MOSEI's clips may begin with dashes, and this one is called as an option is.
DASHED = ("-3g5yACwYnA_13", "--Qvn_2", "-p", "--p", "--help", "--corpus", "-", "--")


def test_explain_and_export_are_the_commands_that_take_an_id() -> None:
    taking = [
        command.callback.__name__
        for command in app.registered_commands
        if command.callback and "clip" in inspect.signature(command.callback).parameters
    ]
    assert taking == ["explain", "export"]


@pytest.mark.parametrize("clip", DASHED)
def test_export_takes_ids_with_dashes(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def export(run: Path, out: Path, **options: Any) -> list[Path]:
        asked.append(options["clip"])
        return [out]

    monkeypatch.setattr("mesm.exporting.command.export", export)
    done = CliRunner().invoke(app, ["export", "run", "out.onnx", f"--clip={clip}"])
    assert done.exit_code == 0, done.output
    assert asked == [clip]


@pytest.mark.parametrize("clip", DASHED)
def test_ids_with_dashes(
    clip: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def explain(run: Path, clip_id: str | None, **options: Any) -> dict[str, Any]:
        asked.append((run, clip_id, options["p"]))
        return {"files": []}

    monkeypatch.setattr("mesm.analysis.explain.explain", explain)
    run = str(project / "mesm")
    plain = [["explain", run, clip], ["explain", run, "--p", "0.5", clip]]
    plain += [["explain", run, clip, "--p", "0.5"]]
    known = clip in ("--p", "--help", "--corpus", "--")
    for words in [] if known else plain:
        assert CliRunner().invoke(app, words).exit_code == 0, words
        assert asked.pop() == (Path(run), clip, 0.5 if "--p" in words else None)
    # Behind two dashes any word is an id.
    for words in (["explain", run, "--", clip], ["explain", "--p", "0.5", "--", run, clip]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        assert asked.pop() == (Path(run), clip, 0.5 if "--p" in words[:2] else None)
