import json
import math
import shutil
from pathlib import Path

import pytest

from mesm.runs.folder import RunFolder


class KilledError(BaseException):
    pass


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_replace_last_survives_a_kill_between_any_two_steps(tmp_path, monkeypatch):
    """The folder is the old one or the new one after mending, whichever step is not reached."""
    old, new = {"a": b"1", "b": b"2"}, {"a": b"3", "b": b"4"}
    steps = {"count": 0, "last": 0}

    def counted(function):
        def step(*arguments, **keywords):
            steps["count"] += 1
            if steps["count"] == steps["last"]:
                raise KilledError
            return function(*arguments, **keywords)

        return step

    outcomes = []
    for last in range(1, 100):
        folder = RunFolder(tmp_path / str(last))
        folder.path.mkdir()
        folder.replace_last(old)
        with monkeypatch.context() as patched:
            steps.update(count=0, last=last)
            for name in ("mkdir", "write_bytes", "replace"):
                patched.setattr(Path, name, counted(getattr(Path, name)))
            patched.setattr(shutil, "rmtree", counted(shutil.rmtree))
            try:
                folder.replace_last(new)
            except KilledError:
                finished = False
            else:
                finished = True
        folder.mend()
        found = contents(folder.last)
        assert found in (old, new)
        assert [entry.name for entry in folder.path.iterdir()] == ["last"]
        outcomes.append(found == new)
        if finished:
            break
    assert finished
    assert outcomes == sorted(outcomes)  # old up to a step, new from there on
    assert set(outcomes) == {False, True}


def test_mend_drops_partial_files(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / ".metrics.jsonl.partial").write_text("{")
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    predictions = folder.predictions("test")
    predictions.parent.mkdir()
    predictions.touch()
    predictions.with_name(".test.parquet.partial").touch()
    folder.mend()
    assert {entry.name for entry in tmp_path.iterdir()} == {"metrics.jsonl", "predictions"}
    assert [entry.name for entry in predictions.parent.iterdir()] == ["test.parquet"]


def test_json_holds_finite_numbers(tmp_path):
    folder, file = RunFolder(tmp_path), tmp_path / "scores.json"
    folder.write_json(file, {"a": [1.5, "é"]})
    for value in (math.nan, math.inf):
        message = r"scores\.json: not written, because emotions\.1\.f1 \((nan|inf)\)"
        with pytest.raises(ValueError, match=message):
            folder.write_json(file, {"emotions": [{"f1": 1.0}, {"f1": value}]})
    assert json.loads(file.read_text()) == {"a": [1.5, "é"]}
