"""The records of epochs, and damaged lines by number."""

import shutil

import pytest

from mesm.evaluation.history import read_history
from mesm.runs.folder import RunFolder


def test_a_record_per_epoch_and_none_without_a_file(tiny_fe2e, tmp_path):
    assert [row["epoch"] for row in read_history(RunFolder(tiny_fe2e))] == [1, 2]
    assert read_history(RunFolder(tmp_path)) == []


@pytest.mark.parametrize("line", ["{", '{"epoch": 1}', "[" * 5000, '{"epoch": 2, "valid_f1": "x"}'])
def test_a_damaged_line_is_named(line, tiny_fe2e, tmp_path):
    run = shutil.copytree(tiny_fe2e, tmp_path / "run")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(f"{lines[0]}\n{line}\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: damaged .*mesm train"):
        read_history(RunFolder(run))
