"""A run finds its corpus again after either was moved, and takes no other for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mesm.corpora.prepared import PreparedCorpus
from mesm.data.corpus_folder import (
    corpus_to_train_on,
    has_corpus,
    kept_place,
    locate_corpus,
    open_corpus,
    write_place,
)
from mesm.runs.folder import RunFolder
from tests.mesm.tables.cases import manifest

SCORES = Path(__file__).parents[2] / "data/legacy/runs/iemocap_fe2e/evaluation.json"


def prepared(folder: Path, data: bytes = b"") -> Path:
    """A prepared corpus of one file that holds `data`."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.parquet").write_bytes(data)
    (folder / "manifest.json").write_text(json.dumps(manifest(data=data)), encoding="utf-8")
    return folder


class Begun:
    """A run that was begun on a corpus, by the names that both had then."""

    def __init__(self, run: Path, corpus: Path) -> None:
        self.named = corpus
        self.run = run
        run.mkdir(parents=True)
        write_place(corpus, PreparedCorpus.open(corpus), RunFolder(run))
        RunFolder(run).config.write_text(f"corpus: {corpus}\n", encoding="utf-8")

    def finds(self, run: Path | None = None, given: Path | None = None) -> Path:
        return locate_corpus(RunFolder(run or self.run), self.named, given)

    def refuses(self, run: Path | None = None, given: Path | None = None) -> str:
        with pytest.raises(ValueError) as told:
            self.finds(run, given)
        message = str(told.value)
        assert message.startswith(f"{run or self.run}: ")
        assert "\n" not in message
        return message


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a corpus in prepared/one."""
    prepared(tmp_path / "project" / "prepared" / "one")
    return tmp_path / "project"


@pytest.fixture
def begun(project: Path) -> Begun:
    """A run in runs/a of the project."""
    return Begun(project / "runs" / "a", project / "prepared" / "one")


def test_a_corpus_that_is_there_is_opened(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = project / "prepared" / "one"
    assert open_corpus(corpus).path == corpus
    monkeypatch.chdir(project)
    assert open_corpus(Path("prepared/one")).manifest == open_corpus(corpus).manifest


def test_a_new_training_is_told_how_to_name_or_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not a prepared corpus") as told:
        corpus_to_train_on(Path("prep"), RunFolder(Path("run")))
    for words in ("prep was looked for from the folder", "corpus=FOLDER", "mesm prepare"):
        assert words in str(told.value)


def test_where_nothing_moved_the_corpus_has_its_name(
    project: Path, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert begun.finds() == begun.named
    monkeypatch.chdir(project)
    relative = Begun(Path("runs/b"), Path("prepared/one"))
    assert relative.finds() == Path("prepared/one")
    assert has_corpus(RunFolder(begun.run), PreparedCorpus.open(begun.named).content)
    assert not has_corpus(RunFolder(begun.run), "another")


def test_a_run_that_was_moved(tmp_path: Path, begun: Begun) -> None:
    moved = begun.run.rename(tmp_path / "elsewhere")
    assert begun.finds(moved) == begun.named


def test_both_moved_together(tmp_path: Path, project: Path, begun: Begun) -> None:
    project.rename(tmp_path / "renamed")
    assert begun.finds(tmp_path / "renamed/runs/a") == tmp_path / "renamed/prepared/one"


def test_a_copy_finds_its_own_and_where_that_is_another_the_first(
    tmp_path: Path, project: Path, begun: Begun
) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    assert begun.finds(copy / "runs/a") == copy / "prepared/one"
    shutil.rmtree(copy / "prepared")
    prepared(copy / "prepared/one", b"other")
    assert begun.finds(copy / "runs/a") == begun.named
    (copy / "prepared/one/manifest.json").write_text("{")
    assert begun.finds(copy / "runs/a") == begun.named


def test_a_corpus_that_was_moved_is_named_or_both_places_are_told(
    tmp_path: Path, project: Path, begun: Begun
) -> None:
    moved = begun.named.rename(tmp_path / "moved")
    run = begun.run.rename(tmp_path / "run")
    said = begun.refuses(run)
    assert "its corpus is not there" in said
    places = (tmp_path.parent / "prepared/one", begun.named)
    assert f"{places[0]} and {places[1]} have no manifest.json" in said
    for words in ("--corpus", "corpus=FOLDER", f"`corpus:` in {run / 'config.yaml'}"):
        assert words in said
    assert begun.finds(run, moved) == moved


def test_another_corpus_at_the_place_is_refused(begun: Begun) -> None:
    shutil.rmtree(begun.named)
    prepared(begun.named, b"other")
    said = begun.refuses()
    assert f"was trained on another corpus than {begun.named} is now" in said
    assert "--corpus" in said
    # Labels may have changed their meaning though the files are the same.
    shutil.rmtree(begun.named)
    prepared(begun.named)
    assert begun.finds() == begun.named
    for facts in (
        {"emotions": list(reversed(manifest()["emotions"]))},
        {"single_label": True},
        {"spectrogram_mean": 0.5},
    ):
        (begun.named / "manifest.json").write_text(json.dumps(manifest(**facts)))
        assert "was trained on another corpus" in begun.refuses()
    # Remarks of a preparation are no part of what is read.
    (begun.named / "manifest.json").write_text(json.dumps(manifest(notes=["new"])))
    assert begun.finds() == begun.named


def test_the_folder_that_is_given_is_the_only_one(tmp_path: Path, begun: Begun) -> None:
    copy = shutil.copytree(begun.named, tmp_path / "copy")
    assert begun.finds(given=copy) == copy
    other = prepared(tmp_path / "other", b"other")
    assert f"another corpus than {other} is now" in begun.refuses(given=other)
    said = begun.refuses(given=tmp_path / "none")
    assert f"--corpus {tmp_path / 'none'} is not its corpus" in said
    assert "has no manifest.json" in said


def test_a_corpus_that_cannot_be_read_says_so_itself(begun: Begun) -> None:
    (begun.named / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="is not the manifest of a prepared corpus"):
        PreparedCorpus.open(begun.finds())


def test_a_config_that_was_changed_by_hand_counts_alone(tmp_path: Path, begun: Begun) -> None:
    copy = shutil.copytree(begun.named, tmp_path / "copy")
    folder = RunFolder(begun.run)
    assert locate_corpus(folder, copy) == copy
    with pytest.raises(ValueError, match=f"not there: {tmp_path}/gone has no manifest") as told:
        locate_corpus(folder, tmp_path / "gone")
    assert "prepared/one" not in str(told.value)
    with pytest.raises(ValueError, match="was trained on another corpus than"):
        locate_corpus(folder, prepared(tmp_path / "other", b"other"))


def test_from_any_working_directory(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    begun = Begun(Path("runs/b"), Path("prepared/one"))
    for folder, name in ((tmp_path, "project/runs/b"), (project / "runs", "b"), (Path("/"), None)):
        monkeypatch.chdir(folder)
        run = project / "runs/b" if name is None else Path(name)
        assert begun.finds(run) == project / "prepared/one"
    monkeypatch.chdir(project / "runs" / "b")
    assert begun.finds(Path()) == project / "prepared/one"
    project.rename(tmp_path / "renamed")
    monkeypatch.chdir(tmp_path / "renamed")
    assert begun.finds(Path("runs/b")) == Path("prepared/one")
    monkeypatch.chdir(tmp_path)
    assert begun.finds(Path("renamed/runs/b")) == tmp_path / "renamed/prepared/one"


def test_behind_symbolic_links(tmp_path: Path, project: Path, begun: Begun) -> None:
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "run").symlink_to(begun.run)
    assert begun.finds(desk / "run") == begun.named
    (desk / "prepared").symlink_to(begun.named)
    linked = Begun(tmp_path / "own", desk / "prepared")
    assert linked.finds() == desk / "prepared"
    # The link leads elsewhere now, and what was behind it is still on the disk.
    (desk / "prepared").unlink()
    (desk / "prepared").symlink_to(prepared(tmp_path / "other", b"other"))
    assert linked.finds() == begun.named
    project.rename(tmp_path / "renamed")
    (desk / "run").unlink()
    (desk / "run").symlink_to(tmp_path / "renamed/runs/a")
    assert begun.finds(desk / "run") == tmp_path / "renamed/prepared/one"


@pytest.mark.parametrize("relative", [True, False])
def test_a_run_of_before_knows_a_name_alone(
    relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(Path("runs/a"))
    path = Path("prep") if relative else tmp_path / "prep"
    with pytest.raises(ValueError, match=r"runs/a: its corpus is not there") as told:
        locate_corpus(folder, path)
    said = str(told.value)
    assert f"{tmp_path / 'prep'} has no manifest.json" in said
    assert "if it was moved, name it with --corpus" in said
    assert "for good after `corpus:` in runs/a/config.yaml" in said
    assert ("call mesm from the folder where the run was trained" in said) == relative
    # Whatever lies there is taken, as no hash was kept.
    prepared(tmp_path / "prep", b"any")
    assert kept_place(folder) is None
    assert locate_corpus(folder, path) == path
    assert locate_corpus(folder, path, prepared(tmp_path / "given")) == tmp_path / "given"


@pytest.mark.parametrize("kept", ["scores", "checkpoint", "clips"])
def test_a_run_of_before_knows_the_emotions_and_the_clips(
    kept: str, tmp_path: Path, tiny_corpus: Path
) -> None:
    """Another corpus has as many emotions at times, and the model would take it."""
    folder = RunFolder(tmp_path / "run")
    names = ["angry", "excited", "frustrated", "happy", "neutral", "sad"]
    clips = {"train": 12, "valid": 6, "test": 7}

    def write(emotions: list[str], counts: dict[str, int]) -> None:
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.last.mkdir(parents=True)
        if kept == "scores":
            scores = json.loads(SCORES.read_text())
            of_one = scores["test"]["emotions"]["sad"]
            scores["test"]["emotions"] = dict.fromkeys(emotions, of_one)
            folder.evaluation.write_text(json.dumps(scores))
            folder.last.rmdir()
            return
        state = {"corpus": {"emotions": emotions, "clips": counts}}
        (folder.last / "state.json").write_text(json.dumps(state))

    write(names, clips)
    assert locate_corpus(folder, tiny_corpus) == tiny_corpus
    write(names if kept == "clips" else names[::-1], {**clips, "test": 8})
    for given in (None, tiny_corpus):
        with pytest.raises(ValueError, match=r"was trained on another corpus than .* is now; if"):
            locate_corpus(folder, tiny_corpus, given)
    # A fold's splits are other ones.
    folder.config.write_text("model:\n  name: mesm\nfold:\n  by: speaker\n")
    if kept == "clips":
        assert locate_corpus(folder, tiny_corpus) == tiny_corpus
    # A damaged file is told by whoever reads it.
    file = folder.evaluation if kept == "scores" else folder.last / "state.json"
    file.write_text("{")
    assert locate_corpus(folder, tiny_corpus) == tiny_corpus


@pytest.mark.parametrize("damage", ["{", "[]", '{"named": "x"}', "changed"])
def test_a_damaged_record_is_named(damage: str, begun: Begun) -> None:
    file = RunFolder(begun.run).corpus
    values: dict[str, Any] = json.loads(file.read_text())
    changed = json.dumps(values | {"identity": "0" * 64})
    file.write_text(changed if damage == "changed" else damage)
    with pytest.raises(ValueError, match=r"corpus\.json: .*(delete|copy|train)"):
        begun.finds()


def test_a_training_goes_on_after_a_move_and_anew_where_it_diverged(
    tmp_path: Path, project: Path, begun: Begun
) -> None:
    renamed = project.rename(tmp_path / "renamed")
    folder = RunFolder(renamed / "runs/a")
    assert corpus_to_train_on(begun.named, folder).path == renamed / "prepared/one"
    other = prepared(tmp_path / "other", b"other")
    with pytest.raises(ValueError, match="was trained on another corpus"):
        corpus_to_train_on(other, folder)
    folder.diverged.touch()
    assert corpus_to_train_on(other, folder).path == other
    assert corpus_to_train_on(begun.named, folder).path == renamed / "prepared/one"
