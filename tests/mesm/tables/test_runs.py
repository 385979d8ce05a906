"""Which runs are found, and which are one experiment."""

import json
from pathlib import Path

import pytest

from mesm.corpora.prepared import PreparedCorpus
from mesm.data.corpus_folder import write_place
from mesm.evaluation.run import Run
from mesm.runs.folder import RunFolder
from mesm.tables.runs import (
    corpus_for,
    corpus_identity,
    group_by_seed,
    read_runs,
    run_folders,
    tell_apart,
)
from tests.mesm.tables.cases import Make


def test_runs_are_found_below_and_once(make_corpus: Make, make_run: Make, tmp_path: Path) -> None:
    corpus = make_corpus()
    first, second = make_run("grid/a", corpus), make_run("grid/b", corpus, seed=1)
    # A run inside a run's folder is part of the outer run.
    make_run("grid/a/retrain/p-0.3", corpus)
    found = run_folders([tmp_path / "runs", second, tmp_path / "runs" / "grid"])
    assert found == [first, second]


def test_places_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        run_folders([tmp_path / "none"])
    with pytest.raises(ValueError, match=r"no run in it or below it"):
        run_folders([tmp_path])


def test_a_run_that_was_not_evaluated_names_the_command(make_corpus: Make, make_run: Make) -> None:
    run = make_run("a", make_corpus(), evaluated=False)
    with pytest.raises(ValueError, match=f"mesm evaluate {run} --split test"):
        read_runs([run])
    with pytest.raises(ValueError, match=f"mesm evaluate {run} --split test"):
        read_runs([run.parent])
    other = make_run("b", run.parent.parent / "corpus")
    with pytest.raises(ValueError, match="--split valid"):
        read_runs([other], "valid")


def test_of_an_experiment_under_way_the_evaluated_runs_are_read(
    make_corpus: Make, make_run: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = make_corpus()
    waiting, done = make_run("a", corpus, evaluated=False), make_run("b", corpus)
    assert [run.path for run in read_runs([done.parent])] == [done]
    assert f"left out: {waiting}: not evaluated" in capsys.readouterr().err
    with pytest.raises(ValueError, match=f"{waiting}: not evaluated"):
        read_runs([done.parent, waiting])


def test_damaged_files_are_named(make_corpus: Make, make_run: Make) -> None:
    run = make_run("a", make_corpus())
    (run / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match=r"sweep.json: not JSON"):
        read_runs([run])
    (run / "config.yaml").write_text("[1, 2")
    with pytest.raises(ValueError, match=r"config.yaml: not YAML"):
        Run(run).settings  # noqa: B018
    (run / "config.yaml").write_text("corpus: x")
    with pytest.raises(ValueError, match="model section"):
        Run(run).settings  # noqa: B018


def test_a_corpus_that_is_gone_is_named(make_run: Make, tmp_path: Path) -> None:
    run = make_run("a", tmp_path / "gone")
    with pytest.raises(ValueError, match=r"runs/a: its corpus cannot be read: .*gone"):
        read_runs([run])


def test_settings_get_their_defaults_or_stay_if_unknown(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus()
    known = Run(make_run("known", corpus, {"name": "mesm"})).settings
    assert (known["model"]["p"], known["training"]["batch_size"]) == (0.5, 8)
    unknown = Run(make_run("unknown", corpus, {"name": "of another version", "x": 1})).settings
    assert unknown["model"] == {"name": "of another version", "x": 1}


def test_runs_of_one_row_differ_in_their_seed_alone(make_corpus: Make, make_run: Make) -> None:
    one, other = make_corpus(), make_corpus("moved")
    make_run("m1", one, {"name": "mesm", "p": 0.5}, 1)
    make_run("m0", other, {"name": "mesm", "p": 0.5}, 0, settings={"training": {"workers": 2}})
    make_run("h", one, {"name": "mesm", "p": 0.5, "selection": "hard"})
    make_run("t", one, {"name": "fe2e", "modalities": "t"})
    make_run("f", one)
    make_run("l", one, {"name": "lf_lstm"})
    runs = read_runs([one.parent / "runs"])
    groups = group_by_seed(runs)
    assert [group.name for group in groups] == [
        "LF-LSTM",
        "FE2E",
        "FE2E (T)",
        "MESM (p = 0.5)",
        "MESM (p = 0.5, hard)",
    ]
    assert [run.seed for run in groups[3].runs] == [0, 1]
    assert len({corpus_identity(run.manifest) for run in runs}) == 1


def test_groups_of_one_name_say_what_they_differ_in(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus()
    for epochs in (3, 5):
        settings = {"training": {"epochs": epochs}}
        make_run(f"e{epochs}", corpus, "fe2e", settings=settings)
    groups = group_by_seed(read_runs([corpus.parent / "runs"]))
    assert [group.name for group in groups] == ["FE2E [epochs 3]", "FE2E [epochs 5]"]
    assert tell_apart({"a": "x", "b": "y"}, {"a": {"k": 1}, "b": {"k": 2}}) == {"a": "x", "b": "y"}


def test_the_same_run_twice_is_refused(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus()
    make_run("a", corpus, seed=3)
    make_run("b", corpus, seed=3)
    with pytest.raises(
        ValueError, match=r"runs/a and .*runs/b have the same settings and the same"
    ):
        group_by_seed(read_runs([corpus.parent / "runs"]))


def test_a_sweep_comes_with_its_run(make_corpus: Make, make_run: Make) -> None:
    run = make_run("a", make_corpus(), files={"sweep.json": {"points": [{"p": 1}]}})
    (found,) = read_runs([run])
    assert found.sweep == {"points": [{"p": 1}]}
    assert found.scores == json.loads((run / "evaluation.json").read_text())["test"]


def test_each_run_takes_its_own_of_several_corpora(
    make_corpus: Make, make_run: Make, tmp_path: Path
) -> None:
    runs = {}
    for name in ("one", "two"):
        corpus = make_corpus(name, data=name.encode())
        runs[name] = make_run(name, corpus)
        write_place(corpus, PreparedCorpus.open(corpus), RunFolder(runs[name]))
        corpus.rename(tmp_path / f"{name} moved")
    moved = [tmp_path / "two moved", tmp_path / "one moved"]
    for name, run in runs.items():
        assert corpus_for(run, moved) == tmp_path / f"{name} moved"
        assert corpus_for(run, []) is None
    assert corpus_for(runs["one"], moved[:1]) is None
    found = read_runs(list(runs.values()), corpora=moved)
    assert [run.corpus.path for run in found] == moved[::-1]
    with pytest.raises(ValueError, match=r"its corpus cannot be read: .*its corpus is not there"):
        read_runs(list(runs.values()), corpora=moved[:1])
    with pytest.raises(ValueError, match=r"--corpus .*: not a prepared corpus"):
        corpus_for(runs["one"], [tmp_path])
    (runs["one"] / "corpus.json").unlink()  # as an earlier run
    assert corpus_for(runs["one"], moved[:1]) == moved[0]
    with pytest.raises(ValueError, match="does not say which of the 2 --corpus"):
        corpus_for(runs["one"], moved)
