"""The facts written beside every figure."""

import json
import os

import pytest
import torch

from mesm.runs.environment import describe, git_commit


def test_description_is_json_and_names_what_matters() -> None:
    found = describe()
    assert json.loads(json.dumps(found)) == found
    assert found["cores"] == os.cpu_count()
    assert found["versions"]["torch"] == str(torch.__version__)
    assert found["cpu"]


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None
