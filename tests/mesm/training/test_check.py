import pytest

from mesm.config.files import dump_config
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.corpus_folder import write_place
from mesm.runs.folder import RunFolder
from mesm.training.check import check_run
from tests.mesm.trainings import settings


@pytest.fixture
def folder(tmp_path):
    """The folder of a run."""
    (tmp_path / "config.yaml").write_text(dump_config(settings(tmp_path)))
    return RunFolder(tmp_path)


def test_takes_a_folder_that_is_not_there_or_empty(tmp_path):
    config = settings(tmp_path)
    assert check_run(config, RunFolder(tmp_path / "none")) == []
    assert check_run(config, RunFolder(tmp_path)) == []


def test_takes_the_remains_of_a_first_start(tmp_path):
    for name in ("tokenizer.json", "corpus.json", "log.txt", ".last.new"):
        (tmp_path / name).touch()
    assert check_run(settings(tmp_path), RunFolder(tmp_path)) == []


def test_refuses_a_folder_of_other_files(tmp_path):
    (tmp_path / "letter.txt").touch()
    with pytest.raises(ValueError, match="holds files but is no run; choose another folder"):
        check_run(settings(tmp_path), RunFolder(tmp_path))


def test_takes_the_same_settings_alone(folder):
    assert check_run(settings(folder.path), folder) == []
    with pytest.raises(ValueError, match=r"other settings: model\.p \(0\.7, now 0\.3\)"):
        check_run(settings(folder.path, "model.p=0.3"), folder)


def test_names_the_settings_that_differ_from_those_of_a_run_that_diverged(folder):
    folder.diverged.touch()
    assert check_run(settings(folder.path), folder) == []
    (differing,) = check_run(settings(folder.path, "model.p=0.3"), folder)
    assert differing == "model.p (0.7, now 0.3)"


def test_a_corpus_is_known_by_its_content_and_not_by_its_place(folder, tiny_corpus):
    corpus = PreparedCorpus.open(tiny_corpus)
    elsewhere = settings(folder.path / "elsewhere")
    with pytest.raises(ValueError, match=r"other settings: corpus \("):
        check_run(elsewhere, folder, corpus.content)
    write_place(folder.path, corpus, folder)
    assert check_run(elsewhere, folder, corpus.content) == []
    with pytest.raises(ValueError, match=r"other settings: corpus \(.*, now"):
        check_run(elsewhere, folder)  # which cannot be read
    for config in (elsewhere, settings(folder.path)):
        with pytest.raises(ValueError, match=r"was trained on another corpus than .* is now"):
            check_run(config, folder, "another")
    both = settings(folder.path, "model.p=0.3")
    with pytest.raises(ValueError, match=r"model\.p .*corpus \(.* holds another than it was begun"):
        check_run(both, folder, "another")
    folder.diverged.touch()
    (differing,) = check_run(elsewhere, folder, "another")
    assert "holds another" in differing
