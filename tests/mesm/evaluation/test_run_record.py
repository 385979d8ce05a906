"""A run's folder is read piece by piece, and damaged pieces are named."""

import shutil

import pytest

from mesm.evaluation.run_record import RunRecord


@pytest.fixture
def run(tiny_mesm, tmp_path):
    """A copy, to write into."""
    return shutil.copytree(tiny_mesm, tmp_path / "run")


def test_it_says_what_the_folder_says(run):
    found = RunRecord(run)
    assert (found.system, found.seed) == ("mesm", 0)
    assert found.is_scored
    assert found.scores["split"] == "test"
    assert [row["epoch"] for row in found.history] == [1, 2]
    assert found.sweep is None
    assert found.manifest.corpus == "iemocap"
    assert (found.accuracy_name, len(found.emotions)) == ("accuracy", 6)
    with pytest.raises(ValueError, match=f"mesm evaluate {run} --split valid"):
        RunRecord(run, "valid").scores  # noqa: B018
    (run / "evaluation.json").write_text("{")
    with pytest.raises(ValueError, match=r"evaluation\.json: not JSON"):
        RunRecord(run).scores  # noqa: B018


def test_metrics_that_are_damaged_are_named(run):
    file = run / "metrics.jsonl"
    first = file.read_text().splitlines()[0]
    for text in (f"{first}\n{{}}\n", f"{first}\nnull\n", f"{first}\n{{", f"{first}\n{first}\n"):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: damaged .*delete it"):
            RunRecord(run).history  # noqa: B018
    file.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"metrics\.jsonl: not UTF-8"):
        RunRecord(run).history  # noqa: B018


def test_a_published_model_is_told_from_a_run(tmp_path):
    for name in ("preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"is a published model, and no run .*; mesm predict /.*"):
        RunRecord(tmp_path).config  # noqa: B018


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no run, config\.yaml is not there; `mesm train` makes"):
        RunRecord(tmp_path).config  # noqa: B018
