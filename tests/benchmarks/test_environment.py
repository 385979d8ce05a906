from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import environment
from benchmarks.environment import device_name, sources_digest


def test_facts_name_the_machine_and_what_was_measured_with() -> None:
    facts = environment.environment()
    assert {"cpu", "cores", "threads", "mesm_ops", "git_commit", "date"} <= facts.keys()
    assert (facts["device"], facts["torch"]) == ("cpu", torch.__version__)
    assert facts["name"] == facts["cpu"] == device_name("cpu")


def test_the_digest_changes_with_a_source_and_with_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    source = tmp_path / "csrc" / "cuda" / "a.cu"
    source.parent.mkdir(parents=True)
    source.write_text("1")
    before = sources_digest()
    for other in ("csrc/cuda/a.o", "benchmarks/results/a.json", "docs/a.py"):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).write_text("2")
    assert sources_digest() == before
    source.write_text("2")
    assert sources_digest() != before
