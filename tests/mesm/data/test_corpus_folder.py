from pathlib import Path

import pytest

from mesm.data.corpus_folder import open_corpus


def test_a_corpus_that_is_there_is_opened(tiny_corpus, monkeypatch):
    assert open_corpus(tiny_corpus).path == tiny_corpus
    monkeypatch.chdir(tiny_corpus.parent)
    relative = Path(tiny_corpus.name)
    assert open_corpus(relative, Path("run")).manifest == open_corpus(tiny_corpus).manifest


def test_a_new_training_is_told_how_to_name_or_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not a prepared corpus") as told:
        open_corpus(Path("prep"))
    for words in ("prep was looked for from the folder", "corpus=FOLDER", "mesm prepare"):
        assert words in str(told.value)


@pytest.mark.parametrize("relative", [True, False])
def test_a_run_is_told_where_its_corpus_was_looked_for(relative, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("prep") if relative else tmp_path / "prep"
    with pytest.raises(ValueError, match=r"runs/a: its corpus is not there") as told:
        open_corpus(path, Path("runs/a"))
    said = str(told.value)
    assert f"{tmp_path / 'prep'} has no manifest.json" in said
    assert "write its folder after `corpus:` in runs/a/config.yaml" in said
    assert ("call mesm from the folder where the run was trained" in said) == relative
