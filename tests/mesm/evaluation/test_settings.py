"""Settings of runs, those of other versions among them."""

import shutil

import pytest

from mesm.evaluation.run import Run
from mesm.evaluation.settings import read_settings


def test_keys_that_are_not_written_have_their_defaults(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("corpus: prepared\nmodel: {name: fe2e}\n")
    found = read_settings(file)
    assert found["training"]["seed"] == 0
    assert found["model"]["sound"] == "log"


def test_settings_of_another_version_stay_as_they_are(tiny_mesm, tmp_path):
    run = shutil.copytree(tiny_mesm, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("seed: 0", "seed: 4\n  magic: true"))
    assert Run(run).settings["training"]["magic"] is True
    assert Run(run).seed == 4
    with pytest.raises(ValueError, match=r"no key training\.magic"):
        Run.open(run)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("corpus: x", "with a model section"),
        ("corpus: x\nmodel: fe2e", "with a model section"),
        ("model: {name: fe2e}", "with the corpus's folder"),
        ("corpus: [1]\nmodel: {name: fe2e}", "with the corpus's folder"),
    ],
)
def test_a_file_of_something_else_is_named(text, said, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"config\.yaml: wanted the settings of a run, {said}"):
        read_settings(file)
